//! The table of directories and files that Spark believes it is writing to.

use std::collections::BTreeMap;

use model::Digest;

use super::OutputError;

/// Most directories and files at one time.
pub(super) const NODE_COUNT_MAX: usize = 20_000;

/// A finished file.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// Its name in the store.
    pub(super) object: String,
    pub(super) plain_len: u64,
    /// Of the bytes as stored.
    pub(super) sha256: Digest,
    pub(super) rows: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Directory,
    File(Written),
}

impl Node {
    pub(super) fn len(&self) -> Option<u64> {
        match self {
            Self::Directory => None,
            Self::File(written) => Some(written.plain_len),
        }
    }
}

/// Paths relative to the run's directory; the empty path is that directory itself.
#[derive(Default)]
pub(super) struct Files {
    nodes: BTreeMap<String, Node>,
    object_count: u64,
    closed: bool,
}

impl Files {
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    pub(super) fn children(&self, path: &str) -> Vec<(String, Option<u64>)> {
        self.nodes
            .iter()
            .filter_map(|(full, node)| {
                let name = below(full, path)?;
                (!name.contains('/')).then(|| (name.to_owned(), node.len()))
            })
            .collect()
    }

    /// Makes `path` and its parents. False if a file is in the way.
    pub(super) fn make_directory(&mut self, path: &str) -> Result<bool, OutputError> {
        self.check_open()?;
        let mut wanted = vec![String::new()];
        for (place, _) in path.match_indices('/') {
            wanted.extend(path.get(..place).map(str::to_owned));
        }
        wanted.push(path.to_owned());
        if wanted
            .iter()
            .any(|path| matches!(self.nodes.get(path), Some(Node::File(_))))
        {
            return Ok(false);
        }
        wanted.retain(|path| !self.nodes.contains_key(path));
        wanted.dedup();
        if self.nodes.len().saturating_add(wanted.len()) > NODE_COUNT_MAX {
            return Err(OutputError::TooLarge);
        }
        for path in wanted {
            self.nodes.insert(path, Node::Directory);
        }
        Ok(true)
    }

    /// A name in the store for a new file at `path`.
    pub(super) fn reserve(&mut self, path: &str, overwrite: bool) -> Result<String, OutputError> {
        self.check_open()?;
        match self.nodes.get(path) {
            _ if path.is_empty() => return Err(OutputError::Path("it is the run's directory")),
            Some(Node::Directory) => return Err(OutputError::Path("it is a directory")),
            Some(Node::File(_)) if !overwrite => return Err(OutputError::Path("it exists")),
            _ => {}
        }
        if self.nodes.len() >= NODE_COUNT_MAX {
            return Err(OutputError::TooLarge);
        }
        self.object_count = self.object_count.saturating_add(1);
        Ok(format!("object-{:08}", self.object_count))
    }

    /// Records a finished file; gives back what it replaces.
    pub(super) fn insert(&mut self, path: &str, written: Written) -> Result<Option<Written>, OutputError> {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if !self.make_directory(parent)? {
            return Err(OutputError::Path("its parent is a file"));
        }
        // Others may have finished since its name was reserved.
        if self.nodes.len() >= NODE_COUNT_MAX && !self.nodes.contains_key(path) {
            return Err(OutputError::TooLarge);
        }
        match self.nodes.insert(path.to_owned(), Node::File(written)) {
            Some(Node::File(replaced)) => Ok(Some(replaced)),
            _ => Ok(None),
        }
    }

    /// Moves a file or a directory with all below it. False if the source is missing or the target
    /// exists: Hadoop's contract for a rename.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<bool, OutputError> {
        self.check_open()?;
        let inside = below(to, from).is_some();
        if from.is_empty() || inside || !self.nodes.contains_key(from) || self.nodes.contains_key(to) {
            return Ok(false);
        }
        let parent = to.rsplit_once('/').map_or("", |(parent, _)| parent);
        if !matches!(self.nodes.get(parent), Some(Node::Directory)) {
            return Ok(false);
        }
        let moved: Vec<String> = self
            .nodes
            .keys()
            .filter(|path| *path == from || below(path, from).is_some())
            .cloned()
            .collect();
        for path in moved {
            if let Some(node) = self.nodes.remove(&path) {
                let rest = path.strip_prefix(from).unwrap_or_default();
                self.nodes.insert(format!("{to}{rest}"), node);
            }
        }
        Ok(true)
    }

    /// Removes a file or directory; `None` if there was nothing.
    pub(super) fn remove(
        &mut self,
        path: &str,
        recursive: bool,
    ) -> Result<Option<Vec<Written>>, OutputError> {
        self.check_open()?;
        if !self.nodes.contains_key(path) {
            return Ok(None);
        }
        if !recursive && !self.children(path).is_empty() {
            return Err(OutputError::Path("the directory is not empty"));
        }
        let mut removed = Vec::new();
        self.nodes.retain(|full, node| {
            let hit = full == path || below(full, path).is_some();
            if let (true, Node::File(written)) = (hit, node) {
                removed.push(written.clone());
            }
            !hit
        });
        Ok(Some(removed))
    }

    /// Ends writing. Gives the results: files whose path has no part starting with `_` or `.`.
    pub(super) fn close(&mut self) -> Result<Vec<(String, Written)>, OutputError> {
        self.check_open()?;
        self.closed = true;
        let nodes = std::mem::take(&mut self.nodes);
        Ok(nodes
            .into_iter()
            .filter_map(|(path, node)| match node {
                Node::File(written) if !path.split('/').any(|part| part.starts_with(['_', '.'])) => {
                    Some((path, written))
                }
                _ => None,
            })
            .collect())
    }

    pub(super) fn give_up(&mut self) {
        self.closed = true;
        self.nodes.clear();
    }

    fn check_open(&self) -> Result<(), OutputError> {
        if self.closed {
            Err(OutputError::Closed)
        } else {
            Ok(())
        }
    }
}

/// `path` relative to `directory`, if it lies below it.
fn below<'a>(path: &'a str, directory: &str) -> Option<&'a str> {
    if directory.is_empty() {
        return (!path.is_empty()).then_some(path);
    }
    path.strip_prefix(directory)?.strip_prefix('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(object: &str) -> Written {
        Written {
            object: object.to_owned(),
            plain_len: 3,
            sha256: Digest::ZERO,
            rows: Some(1),
        }
    }

    fn with(paths: &[&str]) -> Files {
        let mut files = Files::default();
        for path in paths {
            files.insert(path, written(path)).unwrap();
        }
        files
    }

    #[test]
    fn a_rename_moves_a_tree_and_never_replaces() {
        let mut files = with(&["_t/0/a", "_t/0/b/c", "_t/01", "d"]);
        assert!(!files.rename("_t/0/a", "d").unwrap());
        assert!(!files.rename("missing", "e").unwrap());
        assert!(!files.rename("_t", "_t/0/x").unwrap());
        assert!(!files.rename("", "x").unwrap());
        assert!(!files.rename("d", "no/parent").unwrap());
        assert!(files.rename("_t/0", "out").unwrap());
        assert!(
            files.get("out/b/c").is_some() && files.get("_t/0/a").is_none() && files.get("_t/01").is_some()
        );
    }

    #[test]
    fn removing_a_directory_takes_what_is_below_and_nothing_beside() {
        let mut files = with(&["a/x", "a/y/z", "ab"]);
        assert!(files.remove("a", false).is_err());
        let objects: Vec<String> = files
            .remove("a", true)
            .unwrap()
            .unwrap()
            .into_iter()
            .map(|written| written.object)
            .collect();
        assert_eq!(objects, ["a/x", "a/y/z"]);
        assert!(files.remove("a", true).unwrap().is_none());
        assert_eq!(files.children(""), [("ab".to_owned(), Some(3))]);
    }

    #[test]
    fn only_results_are_published_and_then_nothing_can_be_added() {
        let mut files = with(&["part-0", "_temporary/part-1", ".hidden", "d/_x/part-2"]);
        let results: Vec<String> = files.close().unwrap().into_iter().map(|(path, _)| path).collect();
        assert_eq!(results, ["part-0"]);
        assert!(matches!(files.reserve("late", true), Err(OutputError::Closed)));
        assert!(matches!(
            files.insert("late", written("late")),
            Err(OutputError::Closed)
        ));
    }

    #[test]
    fn a_file_is_not_created_over_another_or_under_one() {
        let mut files = with(&["a"]);
        assert!(files.reserve("a", false).is_err());
        assert!(files.reserve("a", true).is_ok());
        assert!(files.reserve("", true).is_err());
        assert!(files.insert("a/b", written("b")).is_err());
        assert!(!files.make_directory("a/c").unwrap());
    }

    #[test]
    fn the_table_takes_the_most_directories_and_files_and_not_one_more() {
        let mut files = with(&["d/first"]);
        assert_eq!(files.nodes.len(), 3, "with the run's own directory");
        for number in files.nodes.len() + 1..NODE_COUNT_MAX {
            files.insert(&format!("d/{number}"), written("x")).unwrap();
        }
        // Two whose names are reserved while there is room for one.
        assert!(files.reserve("d/last", false).is_ok() && files.reserve("d/more", false).is_ok());
        assert!(files.make_directory("d").unwrap(), "it is there");
        files.insert("d/last", written("x")).unwrap();
        assert_eq!(files.nodes.len(), NODE_COUNT_MAX);
        for refused in [
            files.insert("d/more", written("x")).map(drop),
            files.insert("e/more", written("x")).map(drop),
            files.reserve("d/more", false).map(drop),
            files.make_directory("e").map(drop),
        ] {
            assert!(matches!(refused, Err(OutputError::TooLarge)));
        }
        // What replaces another takes no place.
        assert!(files.insert("d/last", written("y")).is_ok());
        assert!(files.make_directory("d").unwrap());
    }
}
