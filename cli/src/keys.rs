//! Keys and certificates for members, users and datasets.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use client::governance::unix_now_s;
use crypto::native::issue::{Validity, self_signed_member};
use crypto::native::{Curve, EcKeyPair, RsaBits, RsaKeyPair, random_bytes};
use crypto::x509::Certificate;
use model::b64;
use serde_json::json;
use zeroize::Zeroizing;

use crate::answer::{Answer, Failure};
use crate::session::{NewFile, write_new};

/// Life of a member's or user's certificate, in days.
const CERTIFICATE_DAYS: u32 = 365;
/// Certificates start this long ago, in seconds, for clocks that are behind ours.
const CLOCK_SLACK_S: u64 = 3600;

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Signing key, certificate and encryption key pair of a member:
    /// NAME_cert.pem, NAME_privk.pem, NAME_enc_pubk.pem, NAME_enc_privk.pem
    Member {
        /// File name prefix and common name
        name: String,
        /// Folder to write into
        #[arg(long, default_value = ".")]
        out: PathBuf,
        /// Without a part in recovery: no encryption key
        #[arg(long)]
        no_encryption_key: bool,
    },
    /// Key and certificate of a certificate user: NAME_cert.pem, NAME_privk.pem
    User {
        /// File name prefix and common name
        name: String,
        /// Folder to write into
        #[arg(long, default_value = ".")]
        out: PathBuf,
    },
    /// A dataset key: 32 random bytes, base64, readable by you only
    Dataset {
        /// File to write
        out: PathBuf,
    },
}

pub(crate) fn run(command: &KeysCommand) -> Result<Answer, Failure> {
    match command {
        KeysCommand::Member {
            name,
            out,
            no_encryption_key,
        } => {
            let (id, mut files) = certificate(name, out)?;
            if !no_encryption_key {
                files.extend(encryption_key(name, out)?);
            }
            write_new(&files)?;
            Ok(Answer::new(
                json!({ "memberId": id }),
                format!("member {name} is {id}"),
            ))
        }
        KeysCommand::User { name, out } => {
            let (id, files) = certificate(name, out)?;
            write_new(&files)?;
            Ok(Answer::new(
                json!({ "userId": id }),
                format!("user {name} is {id}"),
            ))
        }
        KeysCommand::Dataset { out } => {
            let key = Zeroizing::new(random_bytes::<32>());
            write_new(&[NewFile {
                path: out.clone(),
                text: Zeroizing::new(b64::encode(key.as_slice())),
                secret: true,
            }])?;
            Ok(Answer::new(
                json!({ "file": out }),
                format!("wrote a dataset key to {}", out.display()),
            ))
        }
    }
}

/// A new signing key and its certificate: the certificate's id, and both as files.
fn certificate(name: &str, out: &Path) -> Result<(String, Vec<NewFile>), Failure> {
    let ours = |e: &dyn std::fmt::Display| Failure::Ours(e.to_string());
    let key = EcKeyPair::generate(Curve::P384).map_err(|e| ours(&e))?;
    let validity = Validity {
        not_before: unix_now_s().saturating_sub(CLOCK_SLACK_S),
        days: CERTIFICATE_DAYS,
    };
    let cert_pem = self_signed_member(&key, name, validity).map_err(|e| ours(&e))?;
    let id = Certificate::from_pem(&cert_pem)
        .map_err(|e| ours(&e))?
        .id()
        .to_string();
    let key_pem = key.to_pkcs8_pem().map_err(|e| ours(&e))?;
    let path = |kind: &str| out.join(format!("{name}_{kind}.pem"));
    let files = pair(path("cert"), cert_pem, path("privk"), key_pem);
    Ok((id, files))
}

/// A new encryption key pair, as files.
fn encryption_key(name: &str, out: &Path) -> Result<Vec<NewFile>, Failure> {
    let ours = |e: &dyn std::fmt::Display| Failure::Ours(e.to_string());
    let key = RsaKeyPair::generate(RsaBits::B2048).map_err(|e| ours(&e))?;
    let key_pem = key.to_pkcs8_pem().map_err(|e| ours(&e))?;
    let path = |kind: &str| out.join(format!("{name}_enc_{kind}.pem"));
    Ok(pair(path("pubk"), key.public_pem(), path("privk"), key_pem))
}

/// The private file comes first: it is the one that must not be there yet.
fn pair(
    public: PathBuf,
    public_text: String,
    private: PathBuf,
    private_text: Zeroizing<String>,
) -> Vec<NewFile> {
    vec![
        NewFile {
            path: private,
            text: private_text,
            secret: true,
        },
        NewFile {
            path: public,
            text: Zeroizing::new(public_text),
            secret: false,
        },
    ]
}
