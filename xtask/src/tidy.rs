//! The rules of `docs/architecture.md` as tests: what CI enforces, a laptop enforces.

#![allow(clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use crate::guests::{GUESTS, TARGET};
use crate::workspace::root;

mod circles;
mod limits;

const LINES_MAX: usize = 600;

/// Files that git knows, with their path from the root.
pub(crate) fn files(extension: &str) -> Vec<(String, String)> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "not a git checkout");
    String::from_utf8(listed.stdout)
        .unwrap()
        .split('\0')
        .filter(|path| path.ends_with(extension))
        .filter_map(|path| Some((path.to_owned(), fs::read_to_string(root().join(path)).ok()?)))
        .collect()
}

/// Crate name to the crates that the map allows it, or `None` for anything.
type Map = BTreeMap<String, Option<BTreeSet<String>>>;

fn parse_map(page: &str) -> Map {
    page.lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, ring, name, _, _, allowed, _] = cells[..] else {
                return None;
            };
            let is_ring = ["words", "proofs", "decisions", "shells"].contains(&ring);
            let name = name.strip_prefix('`')?.strip_suffix('`')?;
            let allowed = match allowed {
                "anything" => None,
                "–" => Some(BTreeSet::new()),
                list => Some(list.split(',').map(|name| name.trim().to_owned()).collect()),
            };
            is_ring.then(|| (name.to_owned(), allowed))
        })
        .collect()
}

/// Names under which a manifest depends on anything, also for one platform only; dev-dependencies aside.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let per_platform = manifest
        .get("target")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flat_map(toml::Table::values)
        .filter_map(toml::Value::as_table);
    std::iter::once(manifest)
        .chain(per_platform)
        .flat_map(|table| {
            ["dependencies", "build-dependencies"]
                .into_iter()
                .filter_map(|kind| table.get(kind)?.as_table())
        })
        .flat_map(|table| {
            table.iter().map(|(name, requirement)| {
                // A dependency may go by another name here.
                let package = requirement.get("package").and_then(toml::Value::as_str);
                package.unwrap_or(name).to_owned()
            })
        })
        .collect()
}

/// Every crate of the workspace with those of the workspace that it depends on.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let manifests: Vec<toml::Table> = files("Cargo.toml")
        .iter()
        .map(|(_, text)| text.parse().unwrap())
        .collect();
    let name = |manifest: &toml::Table| {
        let name = manifest.get("package")?.get("name")?.as_str()?;
        Some(name.to_owned())
    };
    let ours: BTreeSet<String> = manifests.iter().filter_map(name).collect();
    manifests
        .iter()
        .filter_map(|manifest| {
            let kept = dependencies(manifest).intersection(&ours).cloned().collect();
            Some((name(manifest)?, kept))
        })
        .collect()
}

/// Edges that the map does not allow, and crates that it does not show.
fn violations(map: &Map, edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, dependencies) in edges {
        match map.get(name) {
            None => found.push(format!("{name} is not in the map")),
            Some(None) => {}
            Some(Some(allowed)) => {
                found.extend(
                    dependencies
                        .difference(allowed)
                        .map(|dependency| format!("{name} must not depend on {dependency}")),
                );
            }
        }
    }
    found
}

#[test]
fn every_crate_edge_is_on_the_map() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let (map, edges) = (parse_map(&page), edges());
    assert!(edges.len() >= 19, "found the workspace: {edges:?}");
    assert_eq!(violations(&map, &edges), Vec::<String>::new());
    let ghosts: Vec<&String> = map.keys().filter(|name| !edges.contains_key(*name)).collect();
    assert!(ghosts.is_empty(), "on the map, not in the workspace: {ghosts:?}");
}

#[test]
fn a_forbidden_edge_and_an_unknown_crate_are_found() {
    let map = parse_map("| words | `a` | x | y | – |\n| shells | `b` | x | y | a |");
    let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
    let edges = BTreeMap::from([
        ("a".to_owned(), set(&["b"])),
        ("b".to_owned(), set(&["a"])),
        ("c".to_owned(), set(&[])),
    ]);
    assert_eq!(
        violations(&map, &edges),
        ["a must not depend on b", "c is not in the map"]
    );
}

#[test]
fn a_dependency_hides_behind_no_platform_and_no_other_name() {
    let manifest: toml::Table = "[dependencies]\na = \"1\"\n\
         [target.'cfg(unix)'.dependencies]\nb = \"1\"\n\
         [target.x86_64-unknown-linux-gnu.build-dependencies]\nalias = { package = \"c\", version = \"1\" }\n\
         [dev-dependencies]\nd = \"1\""
        .parse()
        .unwrap();
    assert_eq!(dependencies(&manifest), ["a", "b", "c"].map(str::to_owned).into());
}

/// What is wrong with one source file. The banned words are spelled apart, as this file is read too.
fn faults(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        found.push(format!("{path}: {lines} lines, at most {LINES_MAX}"));
    }
    if !text.starts_with("//!") {
        found.push(format!("{path}: does not begin with //!"));
    }
    let banned = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("#[ign", "ore"),
        concat!("unimpl", "emented!("),
        concat!("to", "do!("),
    ];
    found.extend(
        banned
            .iter()
            .filter(|word| text.contains(**word))
            .map(|word| format!("{path}: {word}")),
    );
    let is_host = path.starts_with("host/");
    if is_host && (text.contains("cleanroom_model") || text.contains("cleanroom-model")) {
        found.push(format!("{path}: the host knows nothing of clean rooms"));
    }
    found
}

#[test]
fn source_files_keep_the_house_rules() {
    let sources = files(".rs");
    assert!(sources.len() > 50, "found the sources");
    let found: Vec<String> = sources
        .iter()
        .flat_map(|(path, text)| faults(path, text))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn each_house_rule_finds_its_fault() {
    let longest = format!("//! x\n{}", "\n".repeat(LINES_MAX - 1));
    assert!(faults("a.rs", &longest).is_empty());
    let long = format!("{longest}\n");
    let marked = format!("//! x\n// {}: later", concat!("TO", "DO"));
    for (path, text) in [
        ("a.rs", long.as_str()),
        ("a.rs", "fn main() {}"),
        ("a.rs", marked.as_str()),
        ("host/src/x.rs", "//! x\nuse cleanroom_model::ids;"),
    ] {
        assert_eq!(faults(path, text).len(), 1, "{text:.40}");
    }
    assert!(faults("cli/src/x.rs", "//! x\nuse cleanroom_model::ids;").is_empty());
}

#[test]
fn components_have_no_randomness_and_no_javascript_bindings() {
    for guest in GUESTS {
        let tree = Command::new(env!("CARGO"))
            .args([
                "tree", "--target", TARGET, "-e", "normal", "--prefix", "none", "-p",
            ])
            .arg(guest.package)
            .current_dir(root())
            .output()
            .unwrap();
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        let tree = String::from_utf8(tree.stdout).unwrap();
        assert!(tree.contains("wit-bindgen"), "{tree}");
        for banned in ["getrandom ", "wasm-bindgen ", "js-sys ", "ring ", "rand "] {
            let culprit = tree.lines().find(|line| line.starts_with(banned));
            assert_eq!(culprit, None, "in {}", guest.package);
        }
    }
}
