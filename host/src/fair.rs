//! A bounded queue that is fair by asker: each has a lane, lanes take turns, and who fills the queue
//! makes room for others.

use std::collections::{HashMap, VecDeque};

use crate::asker::Asker;

/// Emptied lanes kept for the next asker, so that a quiet queue allocates nothing.
const SPARE_MAX: usize = 16;

/// Waiting things, by asker.
pub(crate) struct FairQueue<T> {
    lanes: HashMap<Asker, VecDeque<T>>,
    /// Askers with something waiting, each once; the front is next.
    turns: VecDeque<Asker>,
    spare: Vec<VecDeque<T>>,
    len: usize,
    len_max: usize,
}

/// What became of an offer.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Offered<T> {
    /// It waits.
    Waits,
    /// It waits, in the place of the latest of whoever had most.
    InPlaceOf(T),
    /// The queue is full, and nobody has more in it than this asker.
    Refused(T),
}

impl<T> FairQueue<T> {
    pub(crate) fn new(len_max: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            spare: Vec::new(),
            len: 0,
            len_max,
        }
    }

    /// Puts something behind what this asker has waiting already.
    pub(crate) fn offer(&mut self, asker: Asker, item: T) -> Offered<T> {
        if self.len < self.len_max {
            self.push(asker, item);
            return Offered::Waits;
        }
        let own = self.lanes.get(&asker).map_or(0, VecDeque::len);
        let longest = self.lanes.iter().max_by_key(|(_, lane)| lane.len());
        match longest.map(|(other, lane)| (*other, lane.len())) {
            Some((other, most)) if most > own + 1 => match self.pop_back(other) {
                Some(displaced) => {
                    self.push(asker, item);
                    Offered::InPlaceOf(displaced)
                }
                None => Offered::Refused(item),
            },
            _ => Offered::Refused(item),
        }
    }

    /// The first of the asker whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.pop_if(|_| true)
    }

    /// The same among the askers that `may` go now; the others keep their place.
    pub(crate) fn pop_if(&mut self, may: impl Fn(&Asker) -> bool) -> Option<T> {
        let position = self.turns.iter().position(may)?;
        let asker = self.turns.remove(position)?;
        let lane = self.lanes.get_mut(&asker)?;
        let item = lane.pop_front();
        self.len -= usize::from(item.is_some());
        if lane.is_empty() {
            self.retire(asker);
        } else {
            self.turns.push_back(asker);
        }
        item
    }

    pub(crate) fn clear(&mut self) {
        self.lanes.clear();
        self.turns.clear();
        self.len = 0;
    }

    fn push(&mut self, asker: Asker, item: T) {
        let lane = self.lanes.entry(asker).or_insert_with(|| {
            self.turns.push_back(asker);
            self.spare.pop().unwrap_or_default()
        });
        lane.push_back(item);
        self.len += 1;
    }

    fn pop_back(&mut self, asker: Asker) -> Option<T> {
        let lane = self.lanes.get_mut(&asker)?;
        let item = lane.pop_back();
        self.len -= usize::from(item.is_some());
        if lane.is_empty() {
            self.turns.retain(|other| *other != asker);
            self.retire(asker);
        }
        item
    }

    /// Takes an empty lane away.
    fn retire(&mut self, asker: Asker) {
        if let Some(lane) = self.lanes.remove(&asker)
            && self.spare.len() < SPARE_MAX
        {
            self.spare.push(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(number: u8) -> Asker {
        Asker::Certificate(model::Digest([number; 32]))
    }

    fn drained(queue: &mut FairQueue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_hundred_of_one_asker_keep_the_first_of_another_waiting_for_one() {
        let mut queue = FairQueue::new(1000);
        for number in 0..100 {
            assert_eq!(queue.offer(asker(1), number), Offered::Waits);
        }
        queue.offer(asker(2), 1000);
        queue.offer(asker(2), 1001);
        assert_eq!(drained(&mut queue)[..5], [0, 1000, 1, 1001, 2]);
        assert_eq!(queue.len, 0);
        assert!(queue.lanes.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn who_fills_a_queue_makes_room_and_loses_the_latest() {
        let mut queue = FairQueue::new(4);
        for number in 0..4 {
            assert_eq!(queue.offer(asker(1), number), Offered::Waits);
        }
        assert_eq!(queue.offer(asker(1), 4), Offered::Refused(4));
        assert_eq!(queue.offer(asker(2), 10), Offered::InPlaceOf(3));
        assert_eq!(queue.offer(asker(2), 11), Offered::InPlaceOf(2));
        // Two and two: nobody has more than the other would then.
        assert_eq!(queue.offer(asker(2), 12), Offered::Refused(12));
        // Either of the two may lose one then.
        let third = queue.offer(asker(3), 20);
        assert!(matches!(third, Offered::InPlaceOf(1 | 11)), "{third:?}");
        assert_eq!(queue.len, 4);
        assert_eq!(drained(&mut queue).len(), 4);
    }

    #[test]
    fn a_crowd_that_has_gone_leaves_few_lanes_behind() {
        for (crowd, kept) in [(SPARE_MAX, SPARE_MAX), (SPARE_MAX + 1, SPARE_MAX)] {
            let mut queue = FairQueue::new(1000);
            for number in 0..crowd {
                queue.offer(asker(u8::try_from(number).unwrap()), 1);
            }
            drained(&mut queue);
            assert_eq!(queue.spare.len(), kept);
        }
    }

    #[test]
    fn who_may_not_go_now_keeps_his_turn() {
        let mut queue = FairQueue::new(10);
        queue.offer(asker(1), 1);
        queue.offer(asker(2), 2);
        assert_eq!(queue.pop_if(|who| *who != asker(1)), Some(2));
        assert_eq!(queue.pop_if(|who| *who != asker(1)), None);
        assert_eq!(queue.pop(), Some(1));
    }
}
