//! Who is asking whom: address, pinned certificate, and the caller's credentials.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use client::governance::MemberKey;
use client::memory::Memory;
use client::{Connection, Identity};
use serde_json::Value as JsonValue;
use zeroize::Zeroizing;

use crate::answer::Failure;

/// Largest file that a command reads whole, in bytes.
const FILE_SIZE_MAX: u64 = 64 << 20;

/// All pages of a list, as one.
pub(crate) async fn list(connection: &Connection, path: &str) -> Result<JsonValue, Failure> {
    let mut all: Vec<JsonValue> = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let mut page: JsonValue = connection.get(&path).await?.json()?;
        if let Some(JsonValue::Array(values)) = page.get_mut("value").map(JsonValue::take) {
            all.extend(values);
        }
        let link = page.get("nextLink").and_then(JsonValue::as_str);
        next = link.map(ToOwned::to_owned);
    }
    Ok(serde_json::json!({ "value": all }))
}

/// Options that most commands need.
#[derive(Args)]
pub(crate) struct Options {
    /// Address of a node, https://host:port
    #[arg(long, global = true, env = "CONCORDAT_ADDRESS")]
    address: Option<String>,
    /// The service certificate (PEM), obtained out of band; no other service is talked to
    #[arg(long, global = true, env = "CONCORDAT_SERVICE_CERT")]
    service_cert: Option<PathBuf>,
    /// Certificate (PEM) of the member or user who acts
    #[arg(long, global = true, env = "CONCORDAT_CERT")]
    cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(long, global = true, env = "CONCORDAT_KEY")]
    key: Option<PathBuf>,
    /// File with the bearer token of the user who acts
    #[arg(long, global = true, env = "CONCORDAT_TOKEN_FILE", conflicts_with_all = ["cert", "key"])]
    token_file: Option<PathBuf>,
    /// Where it is kept what was seen of services, so that an older copy of one is noticed
    /// [default: $XDG_CONFIG_HOME/concordat or ~/.config/concordat]
    #[arg(long, global = true, env = "CONCORDAT_CONFIG_DIR")]
    config_dir: Option<PathBuf>,
    #[arg(long, hide = true, env = "XDG_CONFIG_HOME")]
    xdg_config_home: Option<PathBuf>,
}

impl Options {
    fn memory(&self) -> Result<Memory, Failure> {
        let xdg = self.xdg_config_home.as_ref().filter(|dir| dir.is_absolute());
        let dir = match (&self.config_dir, xdg) {
            (Some(dir), _) => dir.clone(),
            (None, Some(dir)) => dir.join("concordat"),
            (None, None) => std::env::home_dir()
                .ok_or_else(|| missing("--config-dir", "CONCORDAT_CONFIG_DIR"))?
                .join(".config/concordat"),
        };
        Ok(Memory::open(&dir.join("services"))?)
    }
}

/// The options, turned into connections when a command needs one.
pub(crate) struct Session {
    options: Options,
    /// The first connection's settings: what it was told is remembered at the end.
    spoken_to: OnceCell<Connection>,
}

impl Session {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            spoken_to: OnceCell::new(),
        }
    }

    /// Keeps what was seen of the service, if a command spoke to one.
    pub(crate) async fn remember(&self) -> Result<(), Failure> {
        match self.spoken_to.get() {
            Some(connection) => Ok(connection.remember().await?),
            None => Ok(()),
        }
    }

    /// A connection with whatever credentials were given.
    pub(crate) fn connection(&self) -> Result<Connection, Failure> {
        let address = self
            .options
            .address
            .as_deref()
            .ok_or_else(|| missing("--address", "CONCORDAT_ADDRESS"))?;
        let service_cert = self.service_cert_pem()?;
        let identity = match (&self.options.cert, &self.options.key) {
            (Some(cert), Some(key)) => Some(Identity {
                cert_pem: read_text(cert)?,
                key_pem: Zeroizing::new(read_text(key)?),
            }),
            (None, None) => None,
            _ => return Err(Failure::Usage("--cert and --key go together".to_owned())),
        };
        let token = match &self.options.token_file {
            Some(path) => Some(read_text(path)?.trim().to_owned()),
            None => None,
        };
        let connection = Connection::with_bearer(address, &service_cert, identity.as_ref(), token)?
            .remembering(self.options.memory()?);
        self.spoken_to.get_or_init(|| connection.again());
        Ok(connection)
    }

    /// The pinned service certificate, PEM.
    pub(crate) fn service_cert_pem(&self) -> Result<String, Failure> {
        let path = self
            .options
            .service_cert
            .as_deref()
            .ok_or_else(|| missing("--service-cert", "CONCORDAT_SERVICE_CERT"))?;
        read_text(path)
    }

    /// The member who acts.
    pub(crate) fn member(&self) -> Result<MemberKey, Failure> {
        let cert = self
            .options
            .cert
            .as_deref()
            .ok_or_else(|| missing("--cert", "CONCORDAT_CERT"))?;
        let key = self
            .options
            .key
            .as_deref()
            .ok_or_else(|| missing("--key", "CONCORDAT_KEY"))?;
        let key_pem = Zeroizing::new(read_text(key)?);
        Ok(MemberKey::from_pem(&read_text(cert)?, &key_pem)?)
    }
}

fn missing(option: &str, variable: &str) -> Failure {
    Failure::Usage(format!(
        "this command needs {option} (or the variable {variable})"
    ))
}

/// Reads a whole file of the size that people hand to commands.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    read_bounded(path, FILE_SIZE_MAX)
}

/// Reads a whole file, bounded while it is read: a device has no length to ask for.
pub(crate) fn read_bounded(path: &Path, size_max: u64) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let read = || -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        // Made once, so that no copy of a key stays behind.
        let size = file.metadata()?.len().min(size_max).saturating_add(1);
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.take(size_max.saturating_add(1)).read_to_end(&mut content)?;
        Ok(content)
    };
    let content = read().map_err(|e| Failure::Usage(format!("cannot read {shown}: {e}")))?;
    if content.len() as u64 > size_max {
        return Err(Failure::Usage(format!("{shown} has more than {size_max} bytes")));
    }
    Ok(content)
}

/// Reads a text file.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read_bytes(path)?)
        .map_err(|_| Failure::Usage(format!("{} is not UTF-8 text", path.display())))
}

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<JsonValue, Failure> {
    serde_json::from_str(&read_text(path)?)
        .map_err(|e| Failure::Usage(format!("{} is not JSON: {e}", path.display())))
}

/// Writes a file that anybody may read, in place of an earlier one.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|e| Failure::Usage(format!("cannot write {}: {e}", path.display())))
}

/// A file to be made, with what it holds.
pub(crate) struct NewFile {
    /// Where.
    pub(crate) path: PathBuf,
    /// Everything in it.
    pub(crate) text: Zeroizing<String>,
    /// Whether only its owner may read it.
    pub(crate) secret: bool,
}

/// Writes files of which none may exist yet: a key that is replaced is a key that is lost. On
/// failure none of them is left behind half made.
pub(crate) fn write_new(files: &[NewFile]) -> Result<(), Failure> {
    for (done, file) in files.iter().enumerate() {
        if let Err(e) = create(file) {
            for made in files.iter().take(done) {
                let _ = std::fs::remove_file(&made.path);
            }
            let shown = file.path.display();
            return Err(Failure::Usage(if e.kind() == io::ErrorKind::AlreadyExists {
                format!("{shown} already exists and is not replaced")
            } else {
                format!("cannot write {shown}: {e}")
            }));
        }
    }
    Ok(())
}

fn create(new: &NewFile) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(if new.secret { 0o600 } else { 0o644 })
        .open(&new.path)?;
    file.write_all(new.text.as_bytes()).inspect_err(|_| {
        // Half a key is no key, and would stand in the way of the next attempt.
        let _ = std::fs::remove_file(&new.path);
    })
}

/// Splits `name=value`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("{text} is not name=value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_most_bytes_is_read_and_a_larger_one_or_one_without_an_end_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let of_size = |size: u64| {
            File::create(&path).unwrap().set_len(size).unwrap();
            read_bytes(&path)
        };
        assert_eq!(of_size(FILE_SIZE_MAX).unwrap().len() as u64, FILE_SIZE_MAX);
        for refused in [of_size(FILE_SIZE_MAX + 1), read_bytes(Path::new("/dev/zero"))] {
            assert!(
                matches!(refused, Err(Failure::Usage(what)) if what.contains("more than 67108864 bytes"))
            );
        }
    }
}
