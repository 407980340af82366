//! Places for connections: so many handshakes, so many connections, and who goes when all are taken.
//!
//! While there is room nobody is limited: many people share one address behind a translator or a
//! balancer. At the cap one goes, of the address that holds most, and never one whose request is being
//! answered.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::activity::Activity;
use crate::asker::Source;

/// All places of a listener.
pub(super) struct Places {
    handshakes_max: usize,
    connections_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    /// Oldest first. Handshakes are counted apart: a stranger who begins many must not close what
    /// is established.
    handshakes: BTreeMap<u64, Holder>,
    connections: BTreeMap<u64, Holder>,
}

struct Holder {
    source: Source,
    activity: Activity,
}

/// One connection's place, until it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    source: Source,
    activity: Activity,
}

impl Places {
    pub(super) fn new(handshakes_max: usize, connections_max: usize) -> Arc<Self> {
        Arc::new(Self {
            handshakes_max,
            connections_max,
            taken: Mutex::default(),
        })
    }

    /// A place for a handshake.
    pub(super) fn handshake(self: &Arc<Self>, source: Source) -> Place {
        let activity = Activity::begin();
        let mut taken = self.taken();
        if taken.handshakes.len() >= self.handshakes_max {
            make_room(&mut taken.handshakes);
        }
        let number = taken.next;
        taken.next += 1;
        let holder = Holder {
            source,
            activity: activity.clone(),
        };
        taken.handshakes.insert(number, holder);
        drop(taken);
        Place {
            places: Arc::clone(self),
            number,
            source,
            activity,
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while the maps are half-changed.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Displaces one holder; `false` if all of them are being answered.
fn make_room(holders: &mut BTreeMap<u64, Holder>) -> bool {
    let mut counts: HashMap<Source, usize> = HashMap::new();
    for holder in holders.values() {
        *counts.entry(holder.source).or_insert(0) += 1;
    }
    loop {
        let candidate = holders
            .iter()
            .filter_map(|(number, holder)| {
                let (completed, last) = holder.activity.rank()?;
                let held = counts.get(&holder.source).copied().unwrap_or(0);
                Some(((std::cmp::Reverse(held), completed, last, *number), *number))
            })
            .min_by_key(|(rank, _)| *rank);
        let Some((_, number)) = candidate else {
            return false;
        };
        // It may have begun to be answered since it was looked at.
        if holders
            .get(&number)
            .is_some_and(|holder| holder.activity.displace())
        {
            holders.remove(&number);
            return true;
        }
    }
}

impl Place {
    pub(super) const fn activity(&self) -> &Activity {
        &self.activity
    }

    pub(super) const fn source(&self) -> Source {
        self.source
    }

    /// The handshake is done. `false` if there is no place for a connection: every one is being
    /// answered at this moment.
    pub(super) fn establish(&self) -> bool {
        let mut taken = self.places.taken();
        // Displaced while it shook hands: its end is on its way.
        let Some(holder) = taken.handshakes.remove(&self.number) else {
            return false;
        };
        if taken.connections.len() >= self.places.connections_max && !make_room(&mut taken.connections) {
            return false;
        }
        taken.connections.insert(self.number, holder);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if taken.handshakes.remove(&self.number).is_none() {
            taken.connections.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::https::activity::OpenRequest;

    fn source(number: u8) -> Source {
        Source::of([192, 0, 2, number].into())
    }

    fn connected(places: &Arc<Places>, number: u8) -> Place {
        let place = places.handshake(source(number));
        assert!(place.establish());
        place
    }

    fn is_there(place: &Place) -> bool {
        place.places.taken().connections.contains_key(&place.number)
    }

    fn answered(place: &Place) {
        place.activity.request().answering().unwrap();
    }

    fn answering(place: &Place) -> OpenRequest {
        let mut request = place.activity.request();
        request.answering().unwrap();
        request
    }

    #[test]
    fn while_there_is_room_one_address_may_have_all_of_it() {
        let places = Places::new(2, 4);
        let all: Vec<Place> = (0..4).map(|_| connected(&places, 1)).collect();
        assert!(all.iter().all(is_there));
    }

    #[test]
    fn silent_connections_of_one_address_make_room_for_another() {
        let places = Places::new(2, 4);
        let honest = connected(&places, 9);
        let silent: Vec<Place> = (0..3).map(|_| connected(&places, 1)).collect();
        let newcomer = connected(&places, 2);
        assert!(is_there(&honest) && is_there(&newcomer));
        assert_eq!(
            silent.iter().map(is_there).collect::<Vec<_>>(),
            [false, true, true]
        );
    }

    #[test]
    fn of_one_address_those_that_never_completed_a_request_go_first_then_the_longest_idle() {
        let places = Places::new(2, 4);
        let mut held: Vec<Place> = (0..4).map(|_| connected(&places, 1)).collect();
        answered(&held[0]);
        answered(&held[1]);
        for expected in [2, 3] {
            held.push(connected(&places, 1));
            answered(held.last().unwrap());
            assert!(!is_there(&held[expected]), "{expected} stays");
        }
        held.push(connected(&places, 1));
        assert!(!is_there(&held[0]) && is_there(&held[1]));
    }

    #[test]
    fn nobody_goes_while_being_answered() {
        let places = Places::new(8, 2);
        let held = [connected(&places, 1), connected(&places, 1)];
        let first = answering(&held[0]);
        let second = answering(&held[1]);
        assert!(!places.handshake(source(2)).establish(), "displaced an answer");
        drop(second);
        let newcomer = connected(&places, 2);
        assert!(is_there(&held[0]) && !is_there(&held[1]) && is_there(&newcomer));
        drop(first);
    }

    #[test]
    fn handshakes_that_never_end_displace_each_other_and_no_connection() {
        let places = Places::new(2, 2);
        let honest = connected(&places, 9);
        let begun: Vec<Place> = (0..20).map(|_| places.handshake(source(1))).collect();
        assert!(is_there(&honest));
        assert_eq!(places.taken().handshakes.len(), 2);
        let other = places.handshake(source(2));
        assert!(other.establish());
        assert!(!begun[0].establish(), "it was displaced");
        assert!(begun[19].establish());
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let places = Places::new(1, 1);
        for _ in 0..3 {
            drop(connected(&places, 1));
            drop(places.handshake(source(1)));
        }
        let taken = places.taken();
        assert!(taken.handshakes.is_empty() && taken.connections.is_empty());
    }
}
