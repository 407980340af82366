//! The Merkle tree over the ledger: leaf index = seqno, leaf 0 = zero bytes.
//!
//! Source: `ledger-host.md` §1.10. An inner node is the SHA-256 of its two children; the last
//! node of a level with an odd number is promoted unchanged. There are no domain-separation
//! bytes (§8, quirk 6), which is safe because leaves are hashes of a fixed shape.

use std::collections::VecDeque;

use crypto::sha256_parts;
use model::Digest;
use serde::{Deserialize, Serialize};

use crate::limits::PATH_STEPS_MAX;

/// A step of a path: the sibling, by the side on which it stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Sibling {
    /// The sibling is the left child.
    Left(Digest),
    /// The sibling is the right child.
    Right(Digest),
}

/// A path with more than [`PATH_STEPS_MAX`] steps.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("Merkle path has {0} steps, at most {PATH_STEPS_MAX} are allowed")]
pub struct PathTooLong(pub usize);

fn combine(left: Digest, right: Digest) -> Digest {
    sha256_parts(&[&left.0, &right.0])
}

/// The root that `leaf` and the path above it imply.
///
/// # Errors
///
/// [`PathTooLong`] before anything is hashed.
pub fn implied_root(leaf: Digest, path: &[Sibling]) -> Result<Digest, PathTooLong> {
    if path.len() > PATH_STEPS_MAX {
        return Err(PathTooLong(path.len()));
    }
    Ok(path.iter().fold(leaf, |node, sibling| match *sibling {
        Sibling::Left(left) => combine(left, node),
        Sibling::Right(right) => combine(node, right),
    }))
}

/// A leaf or node asked for is flushed, or not there yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("leaf {index} of a tree of {size} is not at hand")]
pub struct Unavailable {
    /// The leaf asked for.
    pub index: u64,
    /// The size of tree asked for.
    pub size: u64,
}

/// Bytes that are not a `tree` row.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a Merkle segment: {0}")]
pub struct InvalidSegment(&'static str);

/// The complete nodes of one level, from `first` on; those before it are flushed.
#[derive(Clone, Debug, Default)]
struct Level {
    first: u64,
    nodes: VecDeque<Digest>,
}

impl Level {
    fn get(&self, index: u64) -> Option<Digest> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.nodes.get(at).copied()
    }
}

/// The tree, growing at its right end and forgetting its left end on request.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Level 0 holds leaves, level k roots of complete subtrees of 2^k leaves.
    levels: Vec<Level>,
    len: u64,
    flushed: u64,
}

impl Default for Tree {
    /// The tree of an empty ledger: leaf 0 alone.
    fn default() -> Self {
        let mut tree = Self::empty(0);
        tree.append(Digest::ZERO);
        tree
    }
}

#[allow(
    clippy::arithmetic_side_effects,
    reason = "indices of leaves in memory: below 2^48 by construction and checked in from_segment"
)]
impl Tree {
    fn empty(flushed: u64) -> Self {
        Self {
            levels: Vec::new(),
            len: flushed,
            flushed,
        }
    }

    /// Number of leaves, flushed ones and leaf 0 included: the seqno of the next entry.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is always leaf 0")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Leaves below this index are gone.
    #[must_use]
    pub fn flushed(&self) -> u64 {
        self.flushed
    }

    /// First index of a level that is kept: siblings of kept nodes, and the left subtrees that
    /// [`Tree::segment`] must name, are all at or above it.
    fn first_kept(&self, level: u32) -> u64 {
        (self.flushed >> level) & !1
    }

    fn level_mut(&mut self, level: usize) -> &mut Level {
        while self.levels.len() <= level {
            let at = u32::try_from(self.levels.len()).expect("at most 64 levels");
            self.levels.push(Level {
                first: self.first_kept(at),
                nodes: VecDeque::new(),
            });
        }
        self.levels.get_mut(level).expect("just made")
    }

    /// Adds the leaf of the next entry.
    pub fn append(&mut self, leaf: Digest) {
        let mut index = self.len;
        let mut node = leaf;
        let mut level = 0;
        loop {
            let nodes = &mut self.level_mut(level).nodes;
            let left = nodes.back().copied();
            nodes.push_back(node);
            match left {
                // An odd index completes a pair, whose parent moves up.
                Some(left) if index & 1 == 1 => node = combine(left, node),
                _ => break,
            }
            index >>= 1;
            level += 1;
        }
        self.len += 1;
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Digest {
        // Complete subtrees, one for each bit set in the length, joined from the smallest up.
        let mut root: Option<Digest> = None;
        for (level, nodes) in self.levels.iter().enumerate() {
            if self.len >> level & 1 == 1 {
                let peak = *nodes.nodes.back().expect("kept for the segment's sake");
                root = Some(root.map_or(peak, |right| combine(peak, right)));
            }
        }
        root.expect("there is always leaf 0")
    }

    /// The node at `index` of `level` in the tree of the first `size` leaves; `None` if it lies
    /// outside, promoted if its right half does.
    fn node(&self, level: u32, index: u64, size: u64) -> Result<Option<Digest>, Unavailable> {
        let first_leaf = index << level;
        if first_leaf >= size {
            return Ok(None);
        }
        if first_leaf + (1 << level) <= size {
            let nodes = usize::try_from(level)
                .ok()
                .and_then(|level| self.levels.get(level));
            let node = nodes.and_then(|nodes| nodes.get(index));
            return node.map(Some).ok_or(Unavailable {
                index: first_leaf,
                size,
            });
        }
        // Not complete, hence not a leaf; at most one half is incomplete in turn.
        let left = self.node(level - 1, index * 2, size)?;
        let right = self.node(level - 1, index * 2 + 1, size)?;
        Ok(match (left, right) {
            (Some(left), Some(right)) => Some(combine(left, right)),
            (left, _) => left,
        })
    }

    /// The path from leaf `index` to the root over the first `size` leaves. A signature at seqno
    /// S signs the root over the first S leaves.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] if the leaf is flushed or the tree is smaller.
    pub fn path(&self, index: u64, size: u64) -> Result<Vec<Sibling>, Unavailable> {
        if index >= size || size > self.len || index < self.flushed {
            return Err(Unavailable { index, size });
        }
        let mut path = Vec::new();
        let (mut level, mut at) = (0, index);
        while (1u64 << level) < size {
            let sibling = self.node(level, at ^ 1, size)?;
            path.extend(sibling.map(|node| {
                if at & 1 == 1 {
                    Sibling::Left(node)
                } else {
                    Sibling::Right(node)
                }
            }));
            at >>= 1;
            level += 1;
        }
        Ok(path)
    }

    /// Forgets leaves below `index`, except what later roots and paths need. An index that is
    /// already flushed or not there yet is cut to the range.
    pub fn flush_to(&mut self, index: u64) {
        self.flushed = index.clamp(self.flushed, self.len);
        for (level, nodes) in (0..).zip(&mut self.levels) {
            let first = (self.flushed >> level) & !1;
            let gone = usize::try_from(first.saturating_sub(nodes.first)).unwrap_or(usize::MAX);
            nodes.nodes.drain(..gone.min(nodes.nodes.len()));
            nodes.first = first.max(nodes.first);
        }
    }

    /// The `tree` row (§1.10 item 3): leaves from `flushed` on, and the roots of the complete
    /// subtrees before them, lowest level first.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] if leaves from `flushed` on are gone.
    pub fn segment(&self, flushed: u64) -> Result<Vec<u8>, Unavailable> {
        let missing = Unavailable {
            index: flushed,
            size: self.len,
        };
        if flushed < self.flushed || flushed > self.len {
            return Err(missing);
        }
        let leaves = self.len - flushed;
        let mut bytes = Vec::new();
        bytes.extend(leaves.to_be_bytes());
        bytes.extend(flushed.to_be_bytes());
        for index in flushed..self.len {
            let leaf = self.levels.first().and_then(|level| level.get(index));
            bytes.extend(leaf.ok_or(missing)?.0);
        }
        for (level, nodes) in self.levels.iter().enumerate() {
            if flushed >> level & 1 == 1 {
                let node = nodes.get((flushed >> level) - 1);
                bytes.extend(node.ok_or(missing)?.0);
            }
        }
        Ok(bytes)
    }

    /// A tree from its `tree` row; it has what paths of leaves from the row's `flushed` on need.
    ///
    /// # Errors
    ///
    /// [`InvalidSegment`] if counts and length do not agree.
    pub fn from_segment(bytes: &[u8]) -> Result<Self, InvalidSegment> {
        let short = InvalidSegment("too short");
        let (leaf_count, rest) = bytes.split_first_chunk().ok_or(short)?;
        let (flushed, rest) = rest.split_first_chunk().ok_or(short)?;
        let leaf_count = u64::from_be_bytes(*leaf_count);
        let flushed = u64::from_be_bytes(*flushed);
        let (digests, odd) = rest.as_chunks::<32>();
        // An index of 2^48 and more could not be proven within the bound on paths.
        if flushed >> PATH_STEPS_MAX != 0 || leaf_count >> PATH_STEPS_MAX != 0 {
            return Err(InvalidSegment("index out of range"));
        }
        let extras = u64::from(flushed.count_ones());
        if !odd.is_empty() || digests.len() as u64 != leaf_count + extras || leaf_count + extras == 0 {
            return Err(InvalidSegment("length does not match its counts"));
        }
        let mut tree = Self::empty(flushed);
        let (leaves, extras) = digests.split_at(usize::try_from(leaf_count).expect("just compared"));
        let levels = (0..PATH_STEPS_MAX).filter(|level| flushed >> level & 1 == 1);
        for (level, extra) in levels.zip(extras) {
            tree.level_mut(level).nodes.push_back(Digest(*extra));
        }
        for leaf in leaves {
            tree.append(Digest(*leaf));
        }
        Ok(tree)
    }
}

#[cfg(test)]
mod tests {
    use crypto::sha256;
    use proptest::prelude::*;

    use super::*;

    fn leaf(index: u64) -> Digest {
        if index == 0 {
            Digest::ZERO
        } else {
            sha256(&index.to_le_bytes())
        }
    }

    fn grown(len: u64) -> Tree {
        let mut tree = Tree::default();
        for index in 1..len {
            tree.append(leaf(index));
        }
        tree
    }

    /// Level by level from scratch, as §1.10 words it.
    fn naive_root(len: u64) -> Digest {
        let mut level: Vec<Digest> = (0..len).map(leaf).collect();
        while level.len() > 1 {
            level = level
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => combine(*left, *right),
                    single => single[0],
                })
                .collect();
        }
        level[0]
    }

    #[test]
    fn the_root_is_that_of_a_recomputation() {
        let mut tree = Tree::default();
        for len in 1..300 {
            assert_eq!(tree.len(), len);
            assert_eq!(tree.root(), naive_root(len), "{len}");
            tree.append(leaf(len));
        }
    }

    #[test]
    fn every_path_leads_to_the_root_of_its_size() {
        let tree = grown(70);
        for size in 1..=70 {
            for index in 0..size {
                let path = tree.path(index, size).unwrap();
                assert_eq!(
                    implied_root(leaf(index), &path),
                    Ok(naive_root(size)),
                    "{index} of {size}"
                );
            }
        }
        assert!(tree.path(70, 71).is_err());
        assert!(tree.path(5, 5).is_err());
    }

    #[test]
    fn a_flushed_tree_keeps_what_it_needs_and_no_more() {
        for flushed in 0..=40 {
            let mut tree = grown(40);
            tree.flush_to(flushed);
            assert_eq!(tree.root(), naive_root(40));
            let back = Tree::from_segment(&tree.segment(flushed).unwrap()).unwrap();
            assert_eq!(
                (back.len(), back.flushed(), back.root()),
                (40, flushed, naive_root(40))
            );
            for mut tree in [tree, back] {
                if let Some(below) = flushed.checked_sub(1) {
                    assert!(tree.path(below, 40).is_err());
                    assert!(tree.segment(below).is_err());
                }
                for index in 40..60 {
                    tree.append(leaf(index));
                }
                for index in flushed..60 {
                    let path = tree.path(index, 60).unwrap();
                    assert_eq!(implied_root(leaf(index), &path), Ok(naive_root(60)));
                }
            }
        }
    }

    #[test]
    fn memory_does_not_grow_if_flushed() {
        let mut tree = Tree::default();
        for index in 1..10_000 {
            tree.append(leaf(index));
            if index % 100 == 0 {
                tree.flush_to(index);
            }
        }
        let kept: usize = tree.levels.iter().map(|level| level.nodes.len()).sum();
        assert!(kept < 300, "{kept}");
    }

    #[test]
    fn a_path_of_any_length_is_refused_before_hashing() {
        let path = vec![Sibling::Left(Digest::ZERO); PATH_STEPS_MAX + 1];
        assert_eq!(implied_root(Digest::ZERO, &path), Err(PathTooLong(49)));
    }

    #[test]
    fn a_segment_with_wrong_counts_is_refused() {
        let good = grown(40).segment(21).unwrap();
        assert!(Tree::from_segment(&good).is_ok());
        for bad in [
            good[..good.len() - 32].to_vec(),
            good[..good.len() - 1].to_vec(),
            [good.clone(), vec![0; 32]].concat(),
            [&[0xff; 8], &good[8..]].concat(),
            [&good[..8], &[0xff; 8], &good[16..]].concat(),
            vec![0; 16],
            Vec::new(),
        ] {
            assert!(Tree::from_segment(&bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn appending_after_any_flushes_gives_the_same_root(steps in prop::collection::vec((1u64..20, 0u64..400), 1..12)) {
            let mut tree = Tree::default();
            for (count, flush) in steps {
                for _ in 0..count {
                    tree.append(leaf(tree.len()));
                }
                tree.flush_to(flush);
                prop_assert_eq!(tree.root(), naive_root(tree.len()));
            }
        }

        #[test]
        fn no_bytes_make_the_segment_reader_panic(counts: [u8; 2], rest: Vec<u8>) {
            let mut bytes = vec![0; 16];
            bytes[7] = counts[0] % 8;
            bytes[15] = counts[1] % 8;
            bytes.extend(rest);
            let _ = Tree::from_segment(&bytes).map(|tree| tree.root());
        }
    }
}
