//! Addresses that members vote on and relying parties fetch (RFC 3986), judged before the vote.
//!
//! Tokens carry the address byte for byte, so nothing here rewrites one: what a client would
//! understand differently from what is written is refused.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest address, in bytes.
pub const LEN_MAX: usize = 1024;

/// Why an address is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// Longer than [`LEN_MAX`].
    #[error("it has more than {LEN_MAX} bytes")]
    TooLong,
    /// Another scheme.
    #[error("it does not begin with https://, or with what else is taken here")]
    Scheme,
    /// A query or a fragment; something is appended to the path.
    #[error("it has a query or a fragment")]
    Query,
    /// Name and password before the host.
    #[error("it has a user before its host")]
    User,
    /// No host, or one that is neither name nor address.
    #[error("its host is neither a name nor an IP address")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// `.`, `..` or an empty segment, also when escaped; a slash may end the path.
    #[error("its path has a dot segment or an empty one")]
    Segment,
    /// A byte that is not written as it is, or a broken escape.
    #[error("its path has a character or an escape that does not belong there")]
    Character,
}

/// Judges an address below which further paths are appended. `schemes` are written with `://`.
///
/// # Errors
///
/// [`Unfit`] naming the first thing that is wrong.
pub fn check(text: &str, schemes: &[&str]) -> Result<(), Unfit> {
    if text.len() > LEN_MAX {
        return Err(Unfit::TooLong);
    }
    let rest = schemes
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .ok_or(Unfit::Scheme)?;
    if rest.contains(['?', '#']) {
        return Err(Unfit::Query);
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err(Unfit::User);
    }
    check_authority(authority)?;
    let segments: Vec<&str> = path.split('/').collect();
    let last = segments.len().saturating_sub(1);
    for (index, segment) in segments.into_iter().enumerate() {
        // Nothing behind the last slash is the slash that may end an address.
        if segment.is_empty() && index == last {
            continue;
        }
        check_segment(segment)?;
    }
    Ok(())
}

/// `issuer` with one more segment, without a second slash between the two.
#[must_use]
pub fn below(issuer: &str, segment: &str) -> String {
    format!("{}/{segment}", issuer.strip_suffix('/').unwrap_or(issuer))
}

fn check_authority(authority: &str) -> Result<(), Unfit> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or(Unfit::Host)?;
            host.parse::<Ipv6Addr>().map_err(|_| Unfit::Host)?;
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':').ok_or(Unfit::Port)?),
            };
            (None, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(authority), None),
        },
    };
    if let Some(host) = host {
        check_name(host)?;
    }
    match port {
        None => Ok(()),
        Some(port) => {
            let digits = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
            let number = port.parse::<u16>();
            if digits && number.is_ok() {
                Ok(())
            } else {
                Err(Unfit::Port)
            }
        }
    }
}

/// A DNS name (RFC 1123 §2.1), or an IPv4 address in its one spelling: a name whose last label is a
/// number is read as an address by clients.
fn check_name(host: &str) -> Result<(), Unfit> {
    let label = |label: &str| {
        let inside = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (1..=63).contains(&label.len()) && inside && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric =
        last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X");
    if numeric {
        return host.parse::<Ipv4Addr>().map(|_| ()).map_err(|_| Unfit::Host);
    }
    let fits = host.len() <= 253 && host.split('.').all(label);
    if fits { Ok(()) } else { Err(Unfit::Host) }
}

fn check_segment(segment: &str) -> Result<(), Unfit> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%".contains(&b);
    if !segment.bytes().all(plain) {
        return Err(Unfit::Character);
    }
    let read = crate::percent::decode_path(segment).map_err(|_| Unfit::Character)?;
    if read.is_empty() || read == "." || read == ".." {
        return Err(Unfit::Segment);
    }
    if read.contains(['/', '\\']) || read.chars().any(char::is_control) {
        return Err(Unfit::Character);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTPS: &[&str] = &["https://"];

    #[test]
    fn addresses_of_issuers_in_the_field_are_taken_as_they_are() {
        for good in [
            "https://idp.contoso.test",
            "https://idp.contoso.test/",
            "https://idp.contoso.test/tenant1/",
            "https://contoso.z1.web.core.windows.net/cgs",
            "https://login.example/7f3c/v2.0",
            "https://IDP.example:8443/a/b",
            "https://host:1/x",
            "https://host:65535/x",
            "https://127.0.0.1:8080/x",
            "https://[::1]/x",
            "https://[2001:db8::1]:443/x",
            "https://host/a%20b/~c;d=1",
            "https://host/...",
        ] {
            assert_eq!(check(good, HTTPS), Ok(()), "{good}");
        }
        assert_eq!(check("http://h/x", &["https://", "http://"]), Ok(()));
    }

    #[test]
    fn what_clients_would_read_as_another_address_is_refused() {
        for (bad, reason) in [
            ("", Unfit::Scheme),
            ("http://host", Unfit::Scheme),
            ("HTTPS://host", Unfit::Scheme),
            (" https://host", Unfit::Scheme),
            ("https:/host", Unfit::Scheme),
            ("ftp://host", Unfit::Scheme),
            ("https://", Unfit::Host),
            ("https:///x", Unfit::Host),
            ("https://host?x", Unfit::Query),
            ("https://host/x?", Unfit::Query),
            ("https://host/x#y", Unfit::Query),
            ("https://user@host/x", Unfit::User),
            ("https://user:pass@host/x", Unfit::User),
            ("https://evil.example@idp.contoso.test", Unfit::User),
            ("https://idp.contoso.test:99999/x", Unfit::Port),
            ("https://host:0/x", Unfit::Port),
            ("https://host:65536/x", Unfit::Port),
            ("https://host:/x", Unfit::Port),
            ("https://host:+1/x", Unfit::Port),
            ("https://host:0443/x", Unfit::Port),
            ("https://host:1:2/x", Unfit::Port),
            ("https://[::1]8/x", Unfit::Port),
            ("https://[::1/x", Unfit::Host),
            ("https://[host]/x", Unfit::Host),
            ("https://::1/x", Unfit::Host),
            ("https://1.2.3.256/x", Unfit::Host),
            ("https://1.2.3/x", Unfit::Host),
            ("https://0x7f000001/x", Unfit::Host),
            ("https://host..name/x", Unfit::Host),
            ("https://.host/x", Unfit::Host),
            ("https://-host/x", Unfit::Host),
            ("https://ho st/x", Unfit::Host),
            ("https://h\u{f6}st/x", Unfit::Host),
            ("https://ho%73t/x", Unfit::Host),
            ("https://idp.contoso.test/../x", Unfit::Segment),
            ("https://host/a/..", Unfit::Segment),
            ("https://host/./x", Unfit::Segment),
            ("https://host/%2e%2E/x", Unfit::Segment),
            ("https://host/a/.%2e", Unfit::Segment),
            ("https://host//x", Unfit::Segment),
            ("https://host/x//", Unfit::Segment),
            ("https://host//", Unfit::Segment),
            ("https://host/a%2fb", Unfit::Character),
            ("https://host/a%5cb", Unfit::Character),
            ("https://host/a\\b", Unfit::Character),
            ("https://host/a b", Unfit::Character),
            ("https://host/%zz", Unfit::Character),
            ("https://host/%00", Unfit::Character),
            ("https://host/\u{e9}", Unfit::Character),
            ("https://host/<x>", Unfit::Character),
        ] {
            assert_eq!(check(bad, HTTPS), Err(reason), "{bad}");
        }
    }

    #[test]
    fn addresses_have_a_greatest_length() {
        let long = |length: usize| {
            let text = "https://host/";
            format!("{text}{}", "a".repeat(length - text.len()))
        };
        assert_eq!(check(&long(LEN_MAX), HTTPS), Ok(()));
        assert_eq!(check(&long(LEN_MAX + 1), HTTPS), Err(Unfit::TooLong));
    }

    #[test]
    fn a_path_below_an_address_has_one_slash() {
        assert_eq!(below("https://h/t/", "keys"), "https://h/t/keys");
        assert_eq!(below("https://h/t", "keys"), "https://h/t/keys");
        assert_eq!(below("https://h/", "keys"), "https://h/keys");
    }
}
