//! PEM (RFC 7468), one spelling only.
//!
//! Evidence binds the digest of a key's PEM *text*, and a certificate's text is compared byte for
//! byte, so two spellings of one key must not both pass: lines of 64, LF, no headers, no blanks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const LINE: usize = 64;

/// Labels this crate reads and writes.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// SubjectPublicKeyInfo.
pub const PUBLIC_KEY: &str = "PUBLIC KEY";
/// PKCS#8, not encrypted.
pub const PRIVATE_KEY: &str = "PRIVATE KEY";

/// The text is not PEM in the one spelling accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PemError {
    /// No block of this label where one was expected.
    #[error("expected a PEM block labelled {0:?}")]
    Label(String),
    /// The body is not base64 in lines of 64.
    #[error("the PEM body is not base64 in lines of {LINE}")]
    Body,
    /// The right content, spelled differently.
    #[error("the PEM text must have LF line ends, lines of {LINE} and nothing around the block")]
    NotCanonical,
    /// More blocks than the caller allows.
    #[error("more than {0} PEM blocks")]
    TooMany(usize),
}

/// `der` under `label`, ending in a newline: what a file holds.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    let mut text = encode_bare(label, der);
    text.push('\n');
    text
}

/// `der` under `label` without a newline at the end: the text whose digest evidence binds.
#[must_use]
pub fn encode_bare(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(LINE) {
        // Base64 is ASCII, so every chunk is text.
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----"));
    text
}

/// The one block in `text`, with or without one newline after it.
///
/// # Errors
///
/// [`PemError`] if anything differs from what [`encode`] writes.
pub fn decode_one(label: &str, text: &str) -> Result<Vec<u8>, PemError> {
    decode_canonical(label, text.strip_suffix('\n').unwrap_or(text))
}

/// The one block in `text`, which ends with the block's last dash.
///
/// # Errors
///
/// [`PemError`] if anything differs from what [`encode_bare`] writes.
pub fn decode_canonical(label: &str, text: &str) -> Result<Vec<u8>, PemError> {
    let (der, rest) = next_block(label, text)?;
    if !rest.is_empty() || encode_bare(label, &der) != text {
        return Err(PemError::NotCanonical);
    }
    Ok(der)
}

/// Every block of a file that holds only blocks of this label, at most `max` of them. Newlines
/// between blocks are allowed; text is not.
///
/// # Errors
///
/// [`PemError`] if a block is not canonical, if there is none, or if there are too many.
pub fn decode_many(label: &str, text: &str, max: usize) -> Result<Vec<Vec<u8>>, PemError> {
    let mut blocks = Vec::new();
    let mut rest = text.trim_matches('\n');
    while !rest.is_empty() || blocks.is_empty() {
        if blocks.len() >= max {
            return Err(PemError::TooMany(max));
        }
        let (der, after) = next_block(label, rest)?;
        let block = rest.strip_suffix(after).unwrap_or(rest);
        if encode_bare(label, &der) != block || !(after.is_empty() || after.starts_with('\n')) {
            return Err(PemError::NotCanonical);
        }
        blocks.push(der);
        rest = after.trim_start_matches('\n');
    }
    Ok(blocks)
}

/// The content of the block that `text` begins with, and what follows the block.
fn next_block<'a>(label: &str, text: &'a str) -> Result<(Vec<u8>, &'a str), PemError> {
    let end = format!("-----END {label}-----");
    let (body, rest) = text
        .strip_prefix(&format!("-----BEGIN {label}-----\n"))
        .and_then(|body| body.split_once(&end))
        .ok_or_else(|| PemError::Label(label.to_owned()))?;
    let base64: String = body.split('\n').collect();
    let der = STANDARD.decode(base64).map_err(|_| PemError::Body)?;
    Ok((der, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_encode_writes_is_read_back_at_every_line_length() {
        for length in 0..200_u8 {
            let der: Vec<u8> = (0..length).collect();
            let text = encode(PUBLIC_KEY, &der);
            assert_eq!(decode_one(PUBLIC_KEY, &text), Ok(der.clone()), "{length}");
            let bare = encode_bare(PUBLIC_KEY, &der);
            assert_eq!(decode_one(PUBLIC_KEY, &bare), Ok(der.clone()), "{length}");
            assert_eq!(decode_canonical(PUBLIC_KEY, &bare), Ok(der), "{length}");
            assert_eq!(decode_canonical(PUBLIC_KEY, &text), Err(PemError::NotCanonical));
        }
    }

    #[test]
    fn other_spellings_of_the_same_key_are_refused() {
        let good = encode(PUBLIC_KEY, &[7; 100]);
        for bad in [
            good.replace('\n', "\r\n"),
            format!(" {good}"),
            format!("{good}\n"),
            format!("{good}{good}"),
            good.replacen("BwcH", "BwcH\n", 1),
            good.replacen("BwcH", "Bwc H", 1),
            good.replace("PUBLIC KEY-----\n", "PUBLIC KEY-----\nComment: x\n"),
            good.replace('=', ""),
            good.replace("PUBLIC", "RSA PUBLIC"),
            String::new(),
        ] {
            assert!(decode_one(PUBLIC_KEY, &bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn chains_are_read_in_order_and_bounded() {
        let chain = format!(
            "{}\n{}",
            encode(CERTIFICATE, b"leaf"),
            encode(CERTIFICATE, b"root")
        );
        assert_eq!(
            decode_many(CERTIFICATE, &chain, 2),
            Ok(vec![b"leaf".to_vec(), b"root".to_vec()])
        );
        assert_eq!(decode_many(CERTIFICATE, &chain, 1), Err(PemError::TooMany(1)));
        assert!(decode_many(CERTIFICATE, "", 2).is_err());
        assert!(decode_many(CERTIFICATE, &format!("{chain}junk"), 3).is_err());
        assert!(decode_many(CERTIFICATE, &chain.replace("\n\n", " "), 3).is_err());
    }
}
