//! Size limits and private keys: what must be named by a test, and who may take a key out.

use std::collections::BTreeSet;

use super::files;

/// A limit, as product code declares it.
fn declared(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let (before, after) = line.split_once("const ")?;
    let is_declaration = before.is_empty() || before.starts_with("pub");
    let name = after.split_once(':')?.0;
    (is_declaration && name.ends_with("_MAX")).then_some(name)
}

/// A file's product part and its test part.
fn parts<'a>(path: &str, text: &'a str) -> (&'a str, &'a str) {
    if path.contains("/tests/") || path.starts_with("tests/") || path.ends_with("/tests.rs") {
        return ("", text);
    }
    text.find("#[cfg(test)]")
        .map_or((text, ""), |at| text.split_at(at))
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let bytes = text.as_bytes();
        let before = at.checked_sub(1).is_none_or(|at| !is_word(bytes[at]));
        before && bytes.get(at + name.len()).is_none_or(|byte| !is_word(*byte))
    })
}

/// Limits as `crate folder/NAME`, with whether a test of any crate names them.
fn limits(files: &[(String, String)]) -> Vec<(String, bool)> {
    let tests: Vec<&str> = files.iter().map(|(path, text)| parts(path, text).1).collect();
    let mut found = Vec::new();
    for (path, text) in files {
        let folder = path.split_once("/src/").map_or("", |(folder, _)| folder);
        for name in parts(path, text).0.lines().filter_map(declared) {
            let named = tests.iter().any(|text| names(text, name));
            found.push((format!("{folder}/{name}"), named));
        }
    }
    found
}

/// Limits that no test names yet, as they stood when this rule came. Whoever writes the test takes
/// the line out; nobody adds one: a new limit comes with a test at its most and one beyond.
const NOT_NAMED: &str = include_str!("limits_without_a_test.txt");

#[test]
fn every_limit_is_named_by_a_test() {
    let limits = limits(&files(".rs"));
    assert!(limits.len() > 100, "found the limits: {}", limits.len());
    let unnamed: BTreeSet<&str> = limits
        .iter()
        .filter(|(_, named)| !named)
        .map(|(name, _)| name.as_str())
        .collect();
    let known: BTreeSet<&str> = NOT_NAMED.lines().collect();
    let new: Vec<_> = unnamed.difference(&known).collect();
    assert!(new.is_empty(), "limits that no test names: {new:#?}");
}

#[test]
fn a_limit_without_a_test_is_found() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let found = limits(&[
        file(
            "a/src/x.rs",
            "pub const SIZE_MAX: usize = 1;\n    const OTHER_SIZE_MAX: u64 = 2;",
        ),
        file(
            "a/src/y.rs",
            "fn f() { SIZE_MAX }\n#[cfg(test)]\nmod tests { OTHER_SIZE_MAX }",
        ),
    ]);
    assert_eq!(
        found,
        [
            ("a/SIZE_MAX".to_owned(), false),
            ("a/OTHER_SIZE_MAX".to_owned(), true)
        ]
    );
}

/// The functions through which private key material leaves `crypto`, and the product files that call
/// them: sealing, the tables of named keys, TLS, wrapping one ledger secret in the next, derived
/// secrets, and files of people's and developers' own keys. Anybody else asks for a signature or a
/// decryption.
const WAYS_OUT: [(&str, &[&str]); 3] = [
    (
        ".to_pkcs8_der()",
        &[
            "host/core/src/identity.rs",
            "host/core/src/service.rs",
            "host/src/guest_imports/crypto.rs",
            "host/src/node.rs",
            "spark-launcher/src/identity.rs",
        ],
    ),
    (
        ".to_pkcs8_pem()",
        &["cli/src/keys.rs", "crates/evidence/src/software.rs"],
    ),
    (
        ".expose()",
        &["host/core/src/identity.rs", "host/core/src/resume.rs"],
    ),
];

#[test]
fn private_keys_leave_crypto_by_these_calls_alone() {
    for (call, allowed) in WAYS_OUT {
        let callers: BTreeSet<String> = files(".rs")
            .into_iter()
            .filter(|(path, text)| {
                let ours = ["crates/crypto/", "xtask/", "tests/"];
                !ours.iter().any(|folder| path.starts_with(folder)) && parts(path, text).0.contains(call)
            })
            .map(|(path, _)| path)
            .collect();
        let allowed: BTreeSet<String> = allowed.iter().map(|path| (*path).to_owned()).collect();
        assert_eq!(callers, allowed, "who calls {call}");
    }
}
