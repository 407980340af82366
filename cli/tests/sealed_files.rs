//! Twenty-one ways to change a sealed file: each is told as failed verification, and nothing that
//! could be taken for its contents is left behind.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::path::Path;
use std::process::{Command, Output};

use pod::sealed_file::{BLOCK_SIZE_MIN, DataKey, HEADER_LEN, seal};

/// Nonce and tag of a block.
const OVERHEAD: usize = 12 + 16;
/// A full block as stored.
const STORED: usize = BLOCK_SIZE_MIN as usize + OVERHEAD;

fn sealed(key: u8, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let key = DataKey::from_bytes(&[key; 32]).unwrap();
    seal(&key, BLOCK_SIZE_MIN, &mut &*plain, &mut out).unwrap();
    out
}

fn flipped(whole: &[u8], at: usize) -> Vec<u8> {
    let mut changed = whole.to_vec();
    changed[at] ^= 1;
    changed
}

/// The changed files, each by what was done to the file of three blocks.
fn changed(whole: &[u8], plain: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let block = |index: usize| {
        let begin = HEADER_LEN + index * STORED;
        whole[begin..whole.len().min(begin + STORED)].to_vec()
    };
    let header = whole[..HEADER_LEN].to_vec();
    let of = |parts: &[Vec<u8>]| parts.concat();
    let twin = sealed(1, plain);
    let resized = |size: u32| {
        let mut changed = whole.to_vec();
        changed[5..9].copy_from_slice(&size.to_be_bytes());
        changed
    };
    vec![
        ("cut to nothing", Vec::new()),
        ("cut in its header", whole[..HEADER_LEN - 1].to_vec()),
        ("cut behind its header", header.clone()),
        ("cut behind its first block", of(&[header.clone(), block(0)])),
        (
            "cut behind its second block",
            of(&[header.clone(), block(0), block(1)]),
        ),
        ("cut in its last block", whole[..whole.len() - 1].to_vec()),
        (
            "without its first block",
            of(&[header.clone(), block(1), block(2)]),
        ),
        (
            "without its second block",
            of(&[header.clone(), block(0), block(2)]),
        ),
        (
            "two blocks swapped",
            of(&[header.clone(), block(1), block(0), block(2)]),
        ),
        (
            "a block repeated",
            of(&[header.clone(), block(0), block(1), block(1), block(2)]),
        ),
        (
            "its last block repeated",
            of(&[header.clone(), block(0), block(1), block(2), block(2)]),
        ),
        (
            "a block of another file under the same key",
            of(&[
                header.clone(),
                block(0),
                twin[HEADER_LEN + STORED..HEADER_LEN + 2 * STORED].to_vec(),
                block(2),
            ]),
        ),
        (
            "the header of another file under the same key",
            of(&[twin[..HEADER_LEN].to_vec(), block(0), block(1), block(2)]),
        ),
        ("a byte more", of(&[whole.to_vec(), vec![0]])),
        ("other letters at its head", flipped(whole, 0)),
        ("a block size of nothing", resized(0)),
        ("a block size of four gibibytes", resized(u32::MAX)),
        ("another block size that is taken", resized(BLOCK_SIZE_MIN * 2)),
        ("a flipped bit of its id", flipped(whole, HEADER_LEN - 1)),
        ("a flipped bit of a block", flipped(whole, HEADER_LEN + 40)),
        ("a flipped bit of its last tag", flipped(whole, whole.len() - 1)),
    ]
}

fn decrypt(dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_concordat"))
        .args(["dataset", "decrypt"])
        .arg(dir.join("stored"))
        .arg(dir.join("plain"))
        .arg("--key")
        .arg(dir.join("key"))
        .env_clear()
        .output()
        .unwrap()
}

#[test]
fn no_changed_sealed_file_opens_and_nothing_of_it_stays_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    std::fs::write(path.join("key"), model::b64::encode(&[1; 32])).unwrap();
    let plain: Vec<u8> = (0..2500_u32).map(|i| (i % 251) as u8).collect();
    let whole = sealed(1, &plain);

    std::fs::write(path.join("stored"), &whole).unwrap();
    let output = decrypt(path);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(std::fs::read(path.join("plain")).unwrap(), plain);
    std::fs::remove_file(path.join("plain")).unwrap();

    let cases = changed(&whole, &plain);
    assert_eq!(cases.len(), 21);
    for (what, stored) in cases {
        assert_ne!(stored, whole, "{what}");
        std::fs::write(path.join("stored"), stored).unwrap();
        let output = decrypt(path);
        assert_eq!(output.status.code(), Some(5), "{what}: {output:?}");
        let mut left: Vec<_> = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["key", "stored"], "{what}");
    }
}
