//! Input datasets as the door serves them: which files belong to a run, and their plaintext.

use std::collections::BTreeMap;

use bytes::Bytes;
use cleanroom_model::analytics::{DatasetDocument, Date, DateFallback, DateRange, Encryption, ViewName};

use crate::sealed_file::{DataKey, HEADER_LEN, Header, Layout, Opener, SealedFileError};
use crate::store::{Store, StoreError, StoredFile};

/// Most plaintext handed on at once from a file that is not sealed, in bytes.
const CHUNK_LEN: u64 = 256 * 1024;

/// Why an input cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The store failed.
    #[error("dataset is unreachable")]
    Store(#[from] StoreError),
    /// A file does not decrypt.
    #[error("file cannot be decrypted")]
    Sealed(#[from] SealedFileError),
    /// The document says encrypted, but no key was released.
    #[error("dataset is encrypted and no key was given")]
    KeyMissing,
    /// A key came for a dataset that is not encrypted; documents and release disagree.
    #[error("a key was given for a dataset that is not encrypted")]
    KeyUnexpected,
    /// No file of the format.
    #[error("dataset has no file of its format")]
    Empty,
    /// Dates were asked for and no dated folder is in range.
    #[error("dataset has no folder for any day of the range, and its owner set dateFallback to fail")]
    NoSuchDays,
}

/// One file of an input.
pub struct InputFile {
    stored: StoredFile,
    opener: Option<Opener>,
}

/// An input dataset under its view name.
pub struct Input {
    view: ViewName,
    store: Store,
    files: BTreeMap<String, InputFile>,
}

impl Input {
    /// Lists the dataset's files and reads the header of each sealed one.
    ///
    /// # Errors
    ///
    /// If there is nothing to read, a key is missing, or a file is not what the document says.
    pub async fn open(
        view: ViewName,
        dataset: &DatasetDocument,
        key: Option<&DataKey>,
        dates: Option<&DateRange>,
    ) -> Result<Self, InputError> {
        let key = match (&dataset.access_point.encryption, key) {
            (Encryption::StoreSide, None) => None,
            (Encryption::ClientSide { .. }, Some(key)) => Some(key),
            (Encryption::ClientSide { .. }, None) => return Err(InputError::KeyMissing),
            (Encryption::StoreSide, Some(_)) => return Err(InputError::KeyUnexpected),
        };
        let store = Store::open(&dataset.access_point)?;
        let mut listed = store.list().await?;
        listed.retain(|file| is_data(&file.path, dataset.format.extension()));
        if listed.is_empty() {
            return Err(InputError::Empty);
        }
        let listed = in_range(listed, dates, dataset.date_fallback)?;
        let mut files = BTreeMap::new();
        for stored in listed {
            let opener = match key {
                Some(key) => Some(opener(&store, &stored, key).await?),
                None => None,
            };
            files.insert(stored.path.clone(), InputFile { stored, opener });
        }
        Ok(Self { view, store, files })
    }

    /// The view's name.
    #[must_use]
    pub fn view(&self) -> &ViewName {
        &self.view
    }

    /// The files by path.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, InputFile> {
        &self.files
    }

    /// Plaintext of a file from `offset` on: as much as is at hand, empty only at the end.
    ///
    /// # Errors
    ///
    /// If the store fails or the bytes do not authenticate.
    pub async fn read(&self, file: &InputFile, offset: u64) -> Result<Bytes, InputError> {
        if offset >= file.plain_len() {
            return Ok(Bytes::new());
        }
        let Some(opener) = &file.opener else {
            let end = offset.saturating_add(CHUNK_LEN).min(file.stored.len);
            return Ok(self.store.read(&file.stored.path, offset..end).await?);
        };
        let (index, place) = opener.layout().locate(offset);
        let stored = self
            .store
            .read(&file.stored.path, opener.layout().stored_range(index)?)
            .await?;
        let plain = Bytes::from(opener.open_block(index, &stored)?);
        Ok(plain.slice(place.min(plain.len())..))
    }
}

impl InputFile {
    /// Length of its plaintext in bytes.
    #[must_use]
    pub fn plain_len(&self) -> u64 {
        self.opener
            .as_ref()
            .map_or(self.stored.len, |opener| opener.layout().plain_len())
    }
}

async fn opener(store: &Store, stored: &StoredFile, key: &DataKey) -> Result<Opener, InputError> {
    let header_len = HEADER_LEN as u64;
    if stored.len < header_len {
        return Err(SealedFileError::NotSealed.into());
    }
    let header = store.read(&stored.path, 0..header_len).await?;
    Ok(Opener::new(
        key,
        Layout::new(Header::parse(&header)?, stored.len)?,
    )?)
}

/// Files of the format; Spark skips names that start with `_` or `.`, so they are not offered.
fn is_data(path: &str, extension: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, found)| found == extension)
        && !path.split('/').any(|part| part.starts_with(['_', '.']))
}

fn in_range(
    files: Vec<StoredFile>,
    dates: Option<&DateRange>,
    fallback: DateFallback,
) -> Result<Vec<StoredFile>, InputError> {
    let Some(dates) = dates else { return Ok(files) };
    let dated = |file: &StoredFile| {
        let folder = file
            .path
            .split_once('/')
            .and_then(|(folder, _)| Date::parse(folder));
        folder.is_some_and(|day| dates.contains(day))
    };
    let chosen: Vec<StoredFile> = files.iter().filter(|file| dated(file)).cloned().collect();
    match (chosen.is_empty(), fallback) {
        (false, _) => Ok(chosen),
        (true, DateFallback::All) => Ok(files),
        (true, DateFallback::Fail) => Err(InputError::NoSuchDays),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(paths: &[&str], fallback: DateFallback) -> Option<Vec<String>> {
        let files = paths
            .iter()
            .map(|path| StoredFile {
                path: (*path).to_owned(),
                len: 1,
            })
            .collect();
        let dates = cleanroom_model::analytics::Days::parse(Some("2025-09-01"), Some("2025-09-02"))
            .unwrap()
            .0;
        in_range(files, dates.as_ref(), fallback)
            .ok()
            .map(|files| files.into_iter().map(|file| file.path).collect())
    }

    #[test]
    fn only_days_in_range_are_read_and_none_is_a_failure_unless_the_owner_says_otherwise() {
        let days = [
            "2025-08-31/a.csv",
            "2025-09-01/a.csv",
            "2025-09-02/x/b.csv",
            "all.csv",
        ];
        assert_eq!(chosen(&days, DateFallback::Fail).unwrap(), days[1..3]);
        assert_eq!(chosen(&days, DateFallback::All).unwrap(), days[1..3]);
        assert_eq!(chosen(&days[3..], DateFallback::Fail), None);
        assert_eq!(chosen(&days[3..], DateFallback::All).unwrap(), days[3..]);
    }

    #[test]
    fn files_of_other_formats_and_hidden_ones_are_not_offered() {
        for (path, good) in [
            ("a.csv", true),
            ("d/a.csv", true),
            ("a.json", false),
            ("_SUCCESS", false),
            (".a.csv", false),
            ("_temporary/a.csv", false),
            ("csv", false),
        ] {
            assert_eq!(is_data(path, "csv"), good, "{path}");
        }
    }
}
