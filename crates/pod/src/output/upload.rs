//! One file on its way to the store.

use aws_lc_rs::digest::{Context, SHA256};
use model::Digest;
use object_store::WriteMultipart;

use super::files::Written;
use super::{OutputError, Sink};
use crate::rows::RowCounter;
use crate::sealed_file::{BLOCK_SIZE_DEFAULT, Sealer};
use crate::store::StoreError;

/// Parts of a file in flight to the store at once; the writer waits for them.
const PARTS_IN_FLIGHT_MAX: usize = 2;

/// A file being written. Dropping it before [`Upload::finish`] leaves nothing behind.
pub struct Upload<'a> {
    sink: &'a Sink,
    path: String,
    object: String,
    target: WriteMultipart,
    sealer: Option<Sealer>,
    rows: RowCounter,
    digest: Context,
    plain_len: u64,
    stored: Vec<u8>,
}

impl<'a> Upload<'a> {
    pub(super) fn new(
        sink: &'a Sink,
        path: String,
        object: String,
        target: WriteMultipart,
    ) -> Result<Self, OutputError> {
        let sealer = sink
            .key
            .as_ref()
            .map(|key| Sealer::new(key, BLOCK_SIZE_DEFAULT))
            .transpose()?;
        Ok(Self {
            sink,
            path,
            object,
            target,
            sealer,
            rows: RowCounter::new(sink.format),
            digest: Context::new(&SHA256),
            plain_len: 0,
            stored: Vec::new(),
        })
    }

    /// Takes the next plaintext; returns when the store has room for more.
    ///
    /// # Errors
    ///
    /// If the output grows too large, or encryption or the store fails.
    pub async fn push(&mut self, plain: &[u8]) -> Result<(), OutputError> {
        self.sink.count_bytes(plain.len())?;
        self.plain_len = self.plain_len.saturating_add(plain.len() as u64);
        self.rows.push(plain);
        match &mut self.sealer {
            Some(sealer) => sealer.push(plain, &mut self.stored)?,
            None => self.stored.extend_from_slice(plain),
        }
        self.pass_on().await
    }

    /// Ends the file and enters it in the table.
    ///
    /// # Errors
    ///
    /// If encryption or the store fails, or the output was closed meanwhile.
    pub async fn finish(mut self) -> Result<(), OutputError> {
        if let Some(sealer) = self.sealer.take() {
            sealer.finish(&mut self.stored)?;
        }
        self.pass_on().await?;
        self.target.finish().await.map_err(StoreError::from)?;
        let mut sha256 = Digest::ZERO;
        sha256.0.copy_from_slice(self.digest.finish().as_ref());
        let written = Written {
            object: self.object,
            plain_len: self.plain_len,
            sha256,
            rows: self.rows.finish(),
        };
        let replaced = self.sink.files().insert(&self.path, written)?;
        if let Some(replaced) = replaced {
            self.sink
                .store
                .delete(&self.sink.object_path(&replaced.object))
                .await?;
        }
        Ok(())
    }

    async fn pass_on(&mut self) -> Result<(), OutputError> {
        self.target
            .wait_for_capacity(PARTS_IN_FLIGHT_MAX)
            .await
            .map_err(StoreError::from)?;
        self.digest.update(&self.stored);
        self.target.write(&self.stored);
        self.stored.clear();
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use cleanroom_model::analytics::Format;
    use object_store::{MultipartUpload, PutPayload, PutResult, UploadPart};

    use super::*;

    /// A store that takes its time over every part, and counts those that are under way.
    #[derive(Debug, Default)]
    struct Slow {
        under_way: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    }

    impl MultipartUpload for Slow {
        fn put_part(&mut self, _: PutPayload) -> UploadPart {
            let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            let under_way = Arc::clone(&self.under_way);
            Box::pin(async move {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                under_way.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            })
        }

        fn complete<'a, 'b>(
            &'a mut self,
        ) -> Pin<Box<dyn Future<Output = object_store::Result<PutResult>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { unreachable!("the test never finishes it") })
        }

        fn abort<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = object_store::Result<()>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Ok(()) })
        }
    }

    #[tokio::test]
    async fn the_most_parts_are_under_way_and_the_next_waits() {
        const PART: usize = 1024;
        let dir = tempfile::tempdir().unwrap();
        let sink = Sink::in_clear(dir.path(), Format::Json);
        let slow = Slow::default();
        let most = Arc::clone(&slow.most);
        let target = WriteMultipart::new_with_chunk_size(Box::new(slow), PART);
        let mut upload = Upload::new(&sink, "a".to_owned(), "o".to_owned(), target).unwrap();
        for _ in 0..10 {
            upload.push(&[b' '; PART]).await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), PARTS_IN_FLIGHT_MAX);
    }
}
