//! Datasets at rest: encrypt before storing, decrypt what a run wrote.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use client::ClientError;
use pod::sealed_file::{DataKey, SealedFileError, open, seal};
use serde_json::json;
use zeroize::Zeroizing;

use crate::answer::{Answer, Failure};
use crate::session::read_text;

/// Plain bytes of one encrypted block: large enough to keep the overhead small, small enough that a
/// reader that seeks does not decrypt much for nothing.
const BLOCK_SIZE: u32 = 1 << 20;

/// From where to where, under which key.
#[derive(Args)]
pub(crate) struct Files {
    /// File to read
    input: PathBuf,
    /// File to write
    output: PathBuf,
    /// File with the dataset key: 32 bytes in base64
    // The id of the global --key, which has no meaning here and gives way to this one.
    #[arg(id = "key", long = "key", value_name = "DATASET_KEY")]
    dataset_key: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum DatasetCommand {
    /// Encrypt a file under a dataset key
    Encrypt(Files),
    /// Decrypt a file that a run wrote, or that you encrypted
    Decrypt(Files),
}

pub(crate) fn run(command: &DatasetCommand) -> Result<Answer, Failure> {
    let (files, encrypt) = match command {
        DatasetCommand::Encrypt(files) => (files, true),
        DatasetCommand::Decrypt(files) => (files, false),
    };
    let key = read_key(&files.dataset_key)?;
    let partial = PathBuf::from(format!("{}.partial", files.output.display()));
    let done = transform(files, &key, encrypt, &partial);
    // A file that did not authenticate to its end must not look like a result.
    if done.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    done?;
    std::fs::rename(&partial, &files.output).map_err(|e| unusable(&files.output, &e))?;
    let act = if encrypt { "encrypted" } else { "decrypted" };
    Ok(Answer::new(
        json!({ "output": files.output }),
        format!("{act} {} to {}", files.input.display(), files.output.display()),
    ))
}

fn transform(files: &Files, key: &DataKey, encrypt: bool, partial: &Path) -> Result<(), Failure> {
    let input = File::open(&files.input).map_err(|e| unusable(&files.input, &e))?;
    let len = input.metadata().map_err(|e| unusable(&files.input, &e))?.len();
    let mut reader = BufReader::new(input);
    let mut writer = BufWriter::new(File::create(partial).map_err(|e| unusable(partial, &e))?);
    let result = if encrypt {
        seal(key, BLOCK_SIZE, &mut reader, &mut writer)
    } else {
        open(key, len, &mut reader, &mut writer)
    };
    result.map_err(|e| unreadable(&files.input, &e))?;
    writer.flush().map_err(|e| unusable(partial, &e))
}

fn read_key(path: &Path) -> Result<DataKey, Failure> {
    let text = Zeroizing::new(read_text(path)?);
    let bytes = model::b64::decode(text.trim())
        .map(Zeroizing::new)
        .map_err(|_| Failure::Usage(format!("{} is not base64", path.display())))?;
    DataKey::from_bytes(&bytes).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))
}

/// A file that is not, to the byte, what was sealed under this key fails verification: it may have
/// been changed on its way. What this machine cannot do is another matter.
fn unreadable(path: &Path, error: &SealedFileError) -> Failure {
    let text = format!("{}: {}", path.display(), client::with_causes(error));
    match error {
        SealedFileError::Io(_) | SealedFileError::Crypto => Failure::Ours(text),
        SealedFileError::KeyLength(_) => Failure::Usage(text),
        _ => ClientError::Verification(text).into(),
    }
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("{}: {error}", path.display()))
}
