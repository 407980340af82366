//! File names of chunks, as pure functions (`ledger-host.md` §1.1).

use std::fmt;

/// How far a chunk has come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// `ledger_<first>`: the current chunk; may be truncated.
    Open,
    /// `ledger_<first>-<last>`: closed, not known to be committed. Read, never written by us.
    Closed {
        /// Seqno of its last entry.
        last: u64,
    },
    /// `ledger_<first>-<last>.committed`: immutable.
    Committed {
        /// Seqno of its last entry.
        last: u64,
    },
}

/// A chunk's file name, parsed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ChunkName {
    /// Seqno of its first entry.
    pub first: u64,
    /// How far it has come.
    pub stage: Stage,
    /// Written by a recovery that has not finished: `….recovery`.
    pub recovery: bool,
}

/// Suffix of chunks that must not be read any more.
const IGNORED: &str = ".ignored";
const RECOVERY: &str = ".recovery";
const COMMITTED: &str = ".committed";

impl ChunkName {
    /// The name of an open chunk.
    #[must_use]
    pub const fn open(first: u64) -> Self {
        Self {
            first,
            stage: Stage::Open,
            recovery: false,
        }
    }

    /// The name of a committed chunk.
    #[must_use]
    pub const fn committed(first: u64, last: u64) -> Self {
        Self {
            first,
            stage: Stage::Committed { last },
            recovery: false,
        }
    }

    /// Reads a file name. `None` for everything that a reader passes over: other files, ignored
    /// chunks, and prefixes of chunks made for download.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (name, recovery) = match name.strip_suffix(RECOVERY) {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (name, committed) = match name.strip_suffix(COMMITTED) {
            Some(name) => (name, true),
            None => (name, false),
        };
        let range = name.strip_prefix("ledger_")?;
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (number(first)?, Some(number(last)?)),
            None => (number(range)?, None),
        };
        let stage = match (last, committed) {
            (None, false) => Stage::Open,
            (None, true) => return None,
            (Some(last), _) if last < first => return None,
            (Some(last), false) => Stage::Closed { last },
            (Some(last), true) => Stage::Committed { last },
        };
        Some(Self {
            first,
            stage,
            recovery,
        })
    }

    /// Seqno of the last entry, if the name tells.
    #[must_use]
    pub const fn last(&self) -> Option<u64> {
        match self.stage {
            Stage::Open => None,
            Stage::Closed { last } | Stage::Committed { last } => Some(last),
        }
    }

    /// The name under which the file stays and is read no more.
    #[must_use]
    pub fn ignored(&self) -> String {
        format!("{self}{IGNORED}")
    }
}

/// A decimal number without sign or leading zeros.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| digits)
}

impl fmt::Display for ChunkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ledger_{}", self.first)?;
        match self.stage {
            Stage::Open => {}
            Stage::Closed { last } => write!(f, "-{last}")?,
            Stage::Committed { last } => write!(f, "-{last}{COMMITTED}")?,
        }
        f.write_str(if self.recovery { RECOVERY } else { "" })
    }
}

/// Files of a directory that do not make one ledger.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SequenceError {
    /// Entries are missing or occur twice between chunks.
    #[error("chunk {found} follows seqno {previous_last}: a chunk is missing or doubled")]
    NotContiguous {
        /// Last seqno of the chunk before it; 0 at the beginning.
        previous_last: u64,
        /// The chunk that does not fit.
        found: ChunkName,
    },
    /// A chunk behind an open one.
    #[error("chunk {0} follows an open chunk")]
    AfterOpen(ChunkName),
}

/// Puts chunks in order and checks that they follow each other from seqno 1 on without gap,
/// at most the last one open. Chunks of an unfinished recovery are left out.
///
/// # Errors
///
/// [`SequenceError`] naming the first chunk that does not fit.
pub fn sequence(names: impl IntoIterator<Item = ChunkName>) -> Result<Vec<ChunkName>, SequenceError> {
    let mut chunks: Vec<ChunkName> = names.into_iter().filter(|name| !name.recovery).collect();
    chunks.sort_unstable();
    let mut previous_last = Some(0u64);
    for chunk in &chunks {
        let Some(previous) = previous_last else {
            return Err(SequenceError::AfterOpen(*chunk));
        };
        if previous.checked_add(1) != Some(chunk.first) {
            return Err(SequenceError::NotContiguous {
                previous_last: previous,
                found: *chunk,
            });
        }
        previous_last = chunk.last();
    }
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were() {
        for name in [
            "ledger_1",
            "ledger_14-52",
            "ledger_14-52.committed",
            "ledger_56-62.committed.recovery",
            "ledger_63.recovery",
        ] {
            assert_eq!(
                ChunkName::parse(name).map(|n| n.to_string()).as_deref(),
                Some(name)
            );
        }
        assert_eq!(ChunkName::open(7).ignored(), "ledger_7.ignored");
    }

    #[test]
    fn other_files_are_passed_over() {
        for name in [
            "ledger_1.committed",
            "ledger_1-5.committed_prefix",
            "ledger_1-5.committed.ignored",
            "ledger_0-5",
            "ledger_01-5",
            "ledger_+1-5",
            "ledger_5-4",
            "ledger_",
            "ledger_1-",
            "ledger_99999999999999999999",
            "snapshot_13_14.committed",
            "",
        ] {
            assert_eq!(ChunkName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn chunks_follow_each_other_without_gap_and_only_the_last_is_open() {
        let names = |list: &[&str]| sequence(list.iter().filter_map(|name| ChunkName::parse(name)));
        let good = names(&[
            "ledger_53",
            "ledger_14-52.committed",
            "ledger_1-13.committed",
            "x",
        ]);
        assert_eq!(
            good.map(|chunks| chunks.iter().map(|c| c.first).collect()),
            Ok(vec![1, 14, 53])
        );
        assert_eq!(names(&[]), Ok(vec![]));
        assert!(matches!(
            names(&["ledger_1-13.committed", "ledger_15-20"]),
            Err(SequenceError::NotContiguous {
                previous_last: 13,
                ..
            })
        ));
        assert!(matches!(
            names(&["ledger_2-13.committed"]),
            Err(SequenceError::NotContiguous { previous_last: 0, .. })
        ));
        assert!(matches!(
            names(&["ledger_1-13.committed", "ledger_1-13"]),
            Err(SequenceError::NotContiguous { .. })
        ));
        assert!(matches!(
            names(&["ledger_1", "ledger_2"]),
            Err(SequenceError::AfterOpen(_))
        ));
    }
}
