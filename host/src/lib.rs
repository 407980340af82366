//! The host: HTTPS, files, clocks and the component engine around `host-core`.
//!
//! [`Node::start`] is what `concordat-host start` and whole-service tests call.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "sizes and times here are the host's own and bounded; outside data is parsed elsewhere"
)]

pub mod asker;
mod authenticate;
pub mod clock;
pub mod config;
mod directories;
pub mod disk;
pub mod executor;
mod fair;
mod framework;
pub mod guest_imports;
pub mod guests;
pub mod https;
mod jwt;
pub mod ledger_files;
mod memory;
pub mod node;
mod router;
mod routes;
pub mod sealed_keys;
mod start;
pub mod tls;
mod turns;

pub use start::Node;

/// The filter of the log: what was asked for, and of the h2 library errors alone unless it is named.
/// What it warns of, strangers cause as often as they like.
#[must_use]
pub fn log_filter(asked: &str) -> String {
    let names_h2 = asked.split(',').any(|directive| {
        let target = directive.split(['=', '[']).next().unwrap_or_default().trim();
        target == "h2" || target.starts_with("h2::")
    });
    if names_h2 {
        asked.to_owned()
    } else {
        format!("{asked},h2=error")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn strangers_cannot_fill_the_log_by_bad_frames() {
        assert_eq!(super::log_filter("info"), "info,h2=error");
        assert_eq!(super::log_filter("info,h2x=debug"), "info,h2x=debug,h2=error");
        for named in ["h2=debug", "info,h2::codec=trace", "warn, h2[span]=info"] {
            assert_eq!(super::log_filter(named), named);
        }
    }
}
