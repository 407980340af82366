//! Files that others provide, read up to a bound that is counted while reading: a device has no
//! length to ask for, and a file may grow after it was asked.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The content, or `None` if it has more than `size_max` bytes. The buffer is made once, so that
/// no copy of a key stays behind.
pub(crate) fn read(path: &Path, size_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len().min(size_max);
    let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default().saturating_add(1));
    file.take(size_max.saturating_add(1)).read_to_end(&mut content)?;
    Ok(Some(content).filter(|content| content.len() as u64 <= size_max))
}
