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
    let of_tests = ["tests/", "xtask/src/tidy"];
    if path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || of_tests.iter().any(|start| path.starts_with(start))
    {
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

/// Limits as `crate folder/NAME`, with whether a test names them: one of their own crate, or of any
/// crate as long as no other limit has the name.
fn limits(files: &[(String, String)]) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for (path, text) in files {
        let folder = path.split_once("/src/").map_or("", |(folder, _)| folder);
        for name in parts(path, text).0.lines().filter_map(declared) {
            found.push((folder, name));
        }
    }
    let folders = |name: &str| -> BTreeSet<&str> {
        let same = found.iter().filter(|(_, other)| *other == name);
        same.map(|(folder, _)| *folder).collect()
    };
    let is_named = |(folder, name): &(&str, &str)| {
        let only = folders(name).len() == 1;
        files.iter().any(|(path, text)| {
            let ours = only || path.starts_with(&format!("{folder}/"));
            ours && names(parts(path, text).1, name)
        })
    };
    let named = found
        .iter()
        .map(|limit| (format!("{}/{}", limit.0, limit.1), is_named(limit)));
    named.collect()
}

#[test]
fn every_limit_is_named_by_a_test() {
    let limits = limits(&files(".rs"));
    assert!(limits.len() > 100, "found the limits: {}", limits.len());
    let unnamed: Vec<&str> = limits
        .iter()
        .filter(|(_, named)| !named)
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(unnamed.is_empty(), "limits that no test names: {unnamed:#?}");
}

#[test]
fn a_limit_without_a_test_is_found() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let found = limits(&[
        file(
            "a/src/x.rs",
            "pub const SIZE_MAX: usize = 1;\n    const OTHER_SIZE_MAX: u64 = 2;\nconst BOTH_MAX: u8 = 3;",
        ),
        file(
            "a/src/y.rs",
            "fn f() { SIZE_MAX }\n#[cfg(test)]\nmod tests { BOTH_MAX }",
        ),
        file("b/src/x.rs", "const BOTH_MAX: u8 = 4;"),
        file("b/tests/x.rs", "OTHER_SIZE_MAX"),
    ]);
    let expected = [
        ("a/SIZE_MAX", false),
        ("a/OTHER_SIZE_MAX", true),
        ("a/BOTH_MAX", true),
        ("b/BOTH_MAX", false),
    ];
    assert_eq!(found, expected.map(|(name, named)| (name.to_owned(), named)));
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
