//! PEM (RFC 7468): read leniently from people, and in one spelling where the text itself is bound.
//!
//! Files come with CRLF, with text around the block, with lines of another length; whoever keeps
//! what is in them keeps the DER, or writes it anew with [`encode`]. Evidence binds the digest of a
//! key's PEM *text*: there, two spellings of one key must not both pass, and [`decode_canonical`]
//! takes lines of 64, LF, no headers, no blanks and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

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
    /// The body is not base64.
    #[error("the PEM body is not base64")]
    Body,
    /// A private key where a public thing was expected: what people send here becomes public.
    #[error("the text holds a private key; send the certificate or the public key alone")]
    Private,
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

/// The one block of this label in a text that a person brought: any line ends and line lengths,
/// and text around it, as `openssl x509 -text` and others write.
///
/// # Errors
///
/// [`PemError`] if there is no such block or more than one, if it is not base64, or if the text
/// holds a private key that nobody asked for.
pub fn read_one(label: &str, text: &str) -> Result<Vec<u8>, PemError> {
    let mut blocks = read_many(label, text, 1)?;
    blocks.pop().ok_or_else(|| PemError::Label(label.to_owned()))
}

/// Every block of a text that holds blocks of this label, at most `max` of them, read as
/// [`read_one`] reads.
///
/// # Errors
///
/// As [`read_one`]; blocks of another label are refused too, since nobody can tell what they were
/// meant to add.
pub fn read_many(label: &str, text: &str, max: usize) -> Result<Vec<Vec<u8>>, PemError> {
    const BEGIN: &str = "-----BEGIN ";
    let missing = || PemError::Label(label.to_owned());
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, block)) = rest.split_once(BEGIN) {
        let (found, body) = block.split_once("-----").ok_or_else(missing)?;
        if found != label {
            let private = found.ends_with(PRIVATE_KEY) && !label.ends_with(PRIVATE_KEY);
            return Err(if private { PemError::Private } else { missing() });
        }
        if blocks.len() >= max {
            return Err(PemError::TooMany(max));
        }
        let (body, after) = body
            .split_once(&format!("-----END {label}-----"))
            .ok_or_else(missing)?;
        // The block may be a private key.
        let base64: Zeroizing<String> =
            Zeroizing::new(body.chars().filter(|c| !c.is_ascii_whitespace()).collect());
        blocks.push(STANDARD.decode(base64.as_bytes()).map_err(|_| PemError::Body)?);
        rest = after;
    }
    if blocks.is_empty() {
        return Err(missing());
    }
    Ok(blocks)
}

/// The one block in `text` in its one spelling, which ends with the block's last dash.
///
/// # Errors
///
/// [`PemError`] if anything differs from what [`encode_bare`] writes.
pub fn decode_canonical(label: &str, text: &str) -> Result<Vec<u8>, PemError> {
    let der = read_one(label, text)?;
    if encode_bare(label, &der) != text {
        return Err(PemError::NotCanonical);
    }
    Ok(der)
}

/// The same, with or without one newline after it: as this service writes what it keeps.
///
/// # Errors
///
/// [`PemError`] if anything differs from what [`encode`] or [`encode_bare`] writes.
pub fn decode_written(label: &str, text: &str) -> Result<Vec<u8>, PemError> {
    decode_canonical(label, text.strip_suffix('\n').unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_encode_writes_is_read_back_at_every_line_length() {
        for length in 0..200_u8 {
            let der: Vec<u8> = (0..length).collect();
            for text in [encode(PUBLIC_KEY, &der), encode_bare(PUBLIC_KEY, &der)] {
                assert_eq!(read_one(PUBLIC_KEY, &text), Ok(der.clone()), "{length}");
                assert_eq!(decode_written(PUBLIC_KEY, &text), Ok(der.clone()), "{length}");
            }
        }
    }

    /// Spellings of one key that files have.
    fn spellings(der: &[u8]) -> Vec<String> {
        let good = encode(PUBLIC_KEY, der);
        let body = STANDARD.encode(der);
        let wrapped = |width: usize| -> String {
            let lines: Vec<String> = body
                .as_bytes()
                .chunks(width)
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect();
            let lines = lines.join("\n");
            format!("-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n")
        };
        vec![
            good.replace('\n', "\r\n"),
            good.replace('\n', "\r"),
            format!("\u{feff}{good}"),
            format!(" {good}"),
            good.replace('\n', "  \n\t"),
            format!("{good}\n"),
            format!("\n\n{good}\r\n\r\n"),
            format!("Public-Key: (3072 bit)\n    00:aa--bb\n{good}trailing text"),
            wrapped(76),
            wrapped(1),
            wrapped(10_000),
            good.replacen("BwcH", "BwcH\n", 1),
            good.replacen("BwcH", "Bwc H", 1),
        ]
    }

    #[test]
    fn files_as_people_have_them_are_read_and_only_one_spelling_is_bound() {
        let der = [7; 100];
        for text in spellings(&der) {
            assert_eq!(read_one(PUBLIC_KEY, &text), Ok(der.to_vec()), "{text}");
            assert_eq!(
                decode_written(PUBLIC_KEY, &text),
                Err(PemError::NotCanonical),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_one_block_of_the_label_is_refused() {
        let good = encode(PUBLIC_KEY, &[7; 100]);
        let missing = PemError::Label(PUBLIC_KEY.to_owned());
        for (bad, error) in [
            (format!("{good}{good}"), PemError::TooMany(1)),
            (
                good.replace("PUBLIC KEY-----\n", "PUBLIC KEY-----\nComment: x\n"),
                PemError::Body,
            ),
            (good.replace('=', ""), PemError::Body),
            (good.replacen("BwcH", "Bwc\u{e9}", 1), PemError::Body),
            (good.replace("PUBLIC", "RSA PUBLIC"), missing.clone()),
            (good.replace("BEGIN", "begin"), missing.clone()),
            (good.replace("END", "END OF"), missing.clone()),
            (good.replacen("-----END", "-----BEGIN", 1), missing.clone()),
            (good.chars().take(60).collect(), missing.clone()),
            ("-----BEGIN ".to_owned(), missing.clone()),
            (format!("{good}{}", encode(CERTIFICATE, b"x")), missing.clone()),
            (String::new(), missing),
        ] {
            assert_eq!(read_one(PUBLIC_KEY, &bad), Err(error.clone()), "{bad}");
            assert_eq!(decode_written(PUBLIC_KEY, &bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn a_private_key_beside_a_certificate_is_refused_by_name() {
        for label in [PRIVATE_KEY, "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
            let key = encode(label, b"key");
            let cert = encode(CERTIFICATE, b"cert");
            for text in [format!("{key}{cert}"), format!("{cert}{key}")] {
                assert_eq!(read_one(CERTIFICATE, &text), Err(PemError::Private), "{label}");
            }
        }
    }

    #[test]
    fn chains_are_read_in_order_and_bounded() {
        let chain = format!(
            "{}\n{}",
            encode(CERTIFICATE, b"leaf"),
            encode(CERTIFICATE, b"root")
        );
        let both = Ok(vec![b"leaf".to_vec(), b"root".to_vec()]);
        for text in [
            chain.clone(),
            chain.replace('\n', "\r\n"),
            format!("subject=leaf\n{chain}junk"),
            chain.replace("\n\n", " "),
        ] {
            assert_eq!(read_many(CERTIFICATE, &text, 2), both, "{text}");
            assert_eq!(read_many(CERTIFICATE, &text, 1), Err(PemError::TooMany(1)));
        }
        assert!(read_many(CERTIFICATE, "", 2).is_err());
        assert!(read_many(CERTIFICATE, &chain.replacen("CERTIFICATE", "CRL", 1), 3).is_err());
    }
}
