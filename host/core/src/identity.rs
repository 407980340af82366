//! Who signs: the service's key for the service's life, a node's key for one process, and the
//! ledger secrets by the entry they begin with.

use crypto::native::{EcKeyPair, KeyError, LedgerSecret};
use kv::TxId;
use model::{Digest, NodeId};
use zeroize::Zeroizing;

/// What a sealed identity begins with: format and version.
const MAGIC: &[u8; 8] = b"CCDT-ID2";
/// The version before: without marks.
const MAGIC_UNMARKED: &[u8; 8] = b"CCDT-ID1";
/// View, whether there is a boot entry, its view and seqno, its root.
const MARKS_BYTES: usize = 8 + 1 + 16 + 32;
/// Bytes of one ledger secret with its first seqno.
const SECRET_BYTES: usize = 8 + 32;

/// The service's key, the same over all restarts.
pub struct ServiceIdentity {
    /// P-384; signs roots and issues node certificates.
    pub key: EcKeyPair,
    /// Self-signed CA certificate, PEM.
    pub cert_pem: String,
}

/// A node's key and certificate, for one process.
pub struct NodeIdentity {
    /// P-256, so that a root can be signed as a prehashed digest (decision 27).
    pub key: EcKeyPair,
    /// Certificate issued by the service, PEM.
    pub cert_pem: String,
}

impl NodeIdentity {
    /// SHA-256 of the public key.
    #[must_use]
    pub fn id(&self) -> NodeId {
        node_id(&self.key)
    }
}

/// SHA-256 of a node's public key.
#[must_use]
pub fn node_id(key: &EcKeyPair) -> NodeId {
    NodeId(crypto::sha256(key.spki_der()))
}

/// Bytes are not a sealed identity's plain text.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Cut, extended or of another version.
    #[error("the sealed identity has another format")]
    Format,
    /// The service key inside cannot be used.
    #[error("the service key in the sealed identity: {0}")]
    Key(#[from] KeyError),
}

/// Every ledger secret with the seqno from which it is valid, ascending.
#[derive(Default)]
pub struct LedgerSecrets(Vec<(u64, LedgerSecret)>);

impl LedgerSecrets {
    /// Makes `secret` valid from `seqno` on. Secrets that began there or later are forgotten:
    /// the entries under them were truncated.
    pub fn begin(&mut self, seqno: u64, secret: LedgerSecret) {
        self.0.retain(|(first, _)| *first < seqno);
        self.0.push((seqno, secret));
    }

    /// Forgets secrets that begin at `seqno` or later.
    pub fn truncate(&mut self, seqno: u64) {
        self.0.retain(|(first, _)| *first < seqno);
    }

    /// The secret that entry `seqno` is under.
    #[must_use]
    pub fn at(&self, seqno: u64) -> Option<&LedgerSecret> {
        self.0
            .iter()
            .rev()
            .find(|(first, _)| *first <= seqno)
            .map(|(_, secret)| secret)
    }

    /// The newest secret with its first seqno.
    #[must_use]
    pub fn latest(&self) -> Option<(u64, &LedgerSecret)> {
        self.0.last().map(|(first, secret)| (*first, secret))
    }

    /// Every secret with its first seqno, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &LedgerSecret)> {
        self.0.iter().map(|(first, secret)| (*first, secret))
    }
}

/// A boot entry that was synced: the ledger of this identity holds it, or is an older copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BootMark {
    /// The entry.
    pub id: TxId,
    /// Root over all entries up to this one, as the signature behind it has it.
    pub root: Digest,
}

/// What the identity knows of its ledger's past, whatever the files say now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Marks {
    /// Highest view that a start ever wrote in; 0 if the identity is older than this mark.
    pub view: u64,
    /// The last boot entry that was synced.
    pub boot: Option<BootMark>,
}

impl Marks {
    fn encode(self, to: &mut Vec<u8>) {
        let boot = self.boot.unwrap_or(BootMark {
            id: TxId::default(),
            root: Digest::ZERO,
        });
        to.extend(self.view.to_le_bytes());
        to.push(u8::from(self.boot.is_some()));
        to.extend(boot.id.view.to_le_bytes());
        to.extend(boot.id.seqno.to_le_bytes());
        to.extend(boot.root.0);
    }

    fn decode(bytes: &[u8; MARKS_BYTES]) -> Option<Self> {
        let (view, rest) = bytes.split_first_chunk::<8>()?;
        let (has_boot, rest) = rest.split_first()?;
        let (boot_view, rest) = rest.split_first_chunk::<8>()?;
        let (boot_seqno, root) = rest.split_first_chunk::<8>()?;
        let boot = BootMark {
            id: TxId::new(u64::from_le_bytes(*boot_view), u64::from_le_bytes(*boot_seqno)),
            root: Digest(root.try_into().ok()?),
        };
        Some(Self {
            view: u64::from_le_bytes(*view),
            boot: match has_boot {
                0 => None,
                1 => Some(boot),
                _ => return None,
            },
        })
    }
}

/// What was sealed, in the clear.
pub struct SealedIdentity {
    /// The service's key.
    pub key: EcKeyPair,
    /// Every ledger secret.
    pub secrets: LedgerSecrets,
    /// What is known of the ledger's past.
    pub marks: Marks,
}

/// The plain text of a sealed identity: the service's key, the marks and every ledger secret.
///
/// # Errors
///
/// [`KeyError`] if the key cannot be exported.
pub fn encode_identity(
    key: &EcKeyPair,
    secrets: &LedgerSecrets,
    marks: Marks,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let pkcs8 = key.to_pkcs8_der()?;
    let key_size = u32::try_from(pkcs8.len()).map_err(|_| KeyError::Failed)?;
    // Reserved at once, so that growing leaves no copies behind.
    let size = MAGIC.len() + 4 + pkcs8.len() + MARKS_BYTES + secrets.0.len() * SECRET_BYTES;
    let mut plain = Zeroizing::new(Vec::with_capacity(size));
    plain.extend(MAGIC);
    plain.extend(key_size.to_le_bytes());
    plain.extend(pkcs8.iter());
    marks.encode(&mut plain);
    for (first, secret) in &secrets.0 {
        plain.extend(first.to_le_bytes());
        plain.extend(secret.expose());
    }
    Ok(plain)
}

/// Reads what [`encode_identity`] gave, or the version before it did.
///
/// # Errors
///
/// [`IdentityError`] if the format or the key is not ours.
pub fn decode_identity(plain: &[u8]) -> Result<SealedIdentity, IdentityError> {
    let (magic, rest) = plain.split_first_chunk::<8>().ok_or(IdentityError::Format)?;
    let (size, rest) = rest.split_first_chunk::<4>().ok_or(IdentityError::Format)?;
    let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|_| IdentityError::Format)?;
    let (pkcs8, rest) = rest.split_at_checked(size).ok_or(IdentityError::Format)?;
    let (marks, rest) = match magic {
        MAGIC => {
            let (marks, rest) = rest
                .split_first_chunk::<MARKS_BYTES>()
                .ok_or(IdentityError::Format)?;
            (Marks::decode(marks).ok_or(IdentityError::Format)?, rest)
        }
        MAGIC_UNMARKED => (Marks::default(), rest),
        _ => return Err(IdentityError::Format),
    };
    let mut secrets = LedgerSecrets::default();
    let (rows, []) = rest.as_chunks::<SECRET_BYTES>() else {
        return Err(IdentityError::Format);
    };
    for row in rows {
        let (first, secret) = row.split_first_chunk::<8>().ok_or(IdentityError::Format)?;
        let secret: &[u8; 32] = secret.try_into().map_err(|_| IdentityError::Format)?;
        secrets.begin(u64::from_le_bytes(*first), LedgerSecret::from_bytes(secret));
    }
    Ok(SealedIdentity {
        key: EcKeyPair::from_pkcs8_der(pkcs8)?,
        secrets,
        marks,
    })
}

#[cfg(test)]
mod tests {
    use crypto::native::Curve;

    use super::*;

    fn secret(byte: u8) -> LedgerSecret {
        LedgerSecret::from_bytes(&[byte; 32])
    }

    #[test]
    fn a_sealed_identity_comes_back_and_a_cut_one_is_refused() {
        let key = EcKeyPair::generate(Curve::P384).unwrap();
        let mut secrets = LedgerSecrets::default();
        secrets.begin(1, secret(1));
        secrets.begin(9, secret(2));
        let boot = BootMark {
            id: TxId::new(3, 9),
            root: Digest([7; 32]),
        };
        for boot in [None, Some(boot)] {
            let marks = Marks { view: 4, boot };
            let plain = encode_identity(&key, &secrets, marks).unwrap();
            let back = decode_identity(&plain).unwrap();
            assert_eq!(back.key.spki_der(), key.spki_der());
            assert_eq!(back.marks, marks);
            assert_eq!(back.secrets.at(8).unwrap().expose(), &[1; 32]);
            assert_eq!(back.secrets.at(9).unwrap().expose(), &[2; 32]);
            assert!(decode_identity(&plain[..plain.len() - 1]).is_err());
        }
        assert!(decode_identity(&[]).is_err());
        assert!(decode_identity(MAGIC).is_err());
    }

    #[test]
    fn an_identity_from_before_the_marks_still_opens() {
        let key = EcKeyPair::generate(Curve::P384).unwrap();
        let pkcs8 = key.to_pkcs8_der().unwrap();
        let size = u32::try_from(pkcs8.len()).unwrap().to_le_bytes();
        let rows = [1_u64.to_le_bytes().as_slice(), &[1; 32]].concat();
        let plain = [MAGIC_UNMARKED.as_slice(), &size, &pkcs8, &rows].concat();
        let back = decode_identity(&plain).unwrap();
        assert_eq!(back.key.spki_der(), key.spki_der());
        assert_eq!(back.marks, Marks::default());
        assert_eq!(back.secrets.at(1).unwrap().expose(), &[1; 32]);
    }

    #[test]
    fn a_secret_whose_entries_were_truncated_is_forgotten() {
        let mut secrets = LedgerSecrets::default();
        secrets.begin(1, secret(1));
        secrets.begin(9, secret(2));
        secrets.begin(9, secret(3));
        assert_eq!(secrets.iter().count(), 2);
        assert_eq!(secrets.at(9).unwrap().expose(), &[3; 32]);
        secrets.begin(5, secret(4));
        assert_eq!(secrets.latest().map(|(first, _)| first), Some(5));
    }
}
