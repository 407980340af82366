//! Who asks, as far as sharing goes: whom a queue, a pool or a budget gives his turn.
//!
//! A certificate whose owner is registered, the subject of a token that was checked, or the address. Evidence is
//! nobody's name: before it is verified anybody can send any, and after it the work is done.

use std::net::{IpAddr, Ipv6Addr};

use model::Digest;

/// Where a connection comes from: an IPv4 address, or the /64 of an IPv6 address, since a single
/// subscriber is given that many.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Source(IpAddr);

impl Source {
    /// The source of a peer's address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        // IPv4 that came in on an IPv6 socket is one address, and not the whole of IPv4.
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Somebody who is given turns.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Asker {
    /// SHA-256 of a certificate that a member or user is registered with.
    Certificate(Digest),
    /// SHA-256 of a token's issuer and subject.
    Token(Digest),
    /// Nobody that we know, from there.
    Address(Source),
}

impl Asker {
    /// The subject of a checked token.
    #[must_use]
    pub fn token(issuer: &str, subject: &str) -> Self {
        let length = (issuer.len() as u64).to_be_bytes();
        Self::Token(crypto::sha256_parts(&[
            &length,
            issuer.as_bytes(),
            subject.as_bytes(),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn a_subscriber_with_a_whole_network_is_one_source() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }

    #[test]
    fn an_address_is_the_same_on_either_kind_of_socket() {
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("::ffff:192.0.2.1"), source("::ffff:192.0.2.2"));
    }

    #[test]
    fn a_subject_at_two_issuers_is_two_askers() {
        assert_ne!(Asker::token("a", "bc"), Asker::token("ab", "c"));
    }
}
