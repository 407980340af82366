//! A typed, verifying client of a Concordat service, over HTTPS.
//!
//! A [`Connection`] trusts exactly one service certificate, which the caller obtained out of band.
//! On it stand: [`governance`] (members: signed proposals and ballots), [`attested`] (pods and the
//! launcher: evidence, wrapped answers), [`discovery`] (a launcher's certificate, known by its
//! evidence) and [`receipts`] (fetch, verify, keep).

#![allow(
    clippy::arithmetic_side_effects,
    reason = "sizes and times here are ours and small"
)]

pub mod api_error;
pub mod attested;
pub mod connection;
mod continuity;
pub mod discovery;
pub mod governance;
pub mod memory;
pub mod receipts;
mod service_certificate;

pub use api_error::ClientError;
pub use connection::{Connection, Identity, Reply};

/// An error with everything that caused it, on one line.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
