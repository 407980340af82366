//! `cargo xtask guards`: takes guards out of the code, one at a time, and sees the named test fail.
//!
//! What is tried is a copy below the build folder, with a build folder of its own: the checkout is
//! never touched. A test that passes without its guard shows nothing, and is the failure here.

mod copy;
pub(crate) mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::workspace::{root, target};

/// Where guards are written down, from the root.
pub(crate) const LIST: &str = "tests/guards.toml";

/// The whole list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Guards {
    /// Findings by number, in a few words.
    pub(crate) findings: BTreeMap<String, String>,
    /// Guards, in the order of the list.
    #[serde(rename = "guard")]
    pub(crate) guards: Vec<Guard>,
}

/// One guard: what it is, how it is taken out, who notices.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Guard {
    /// A name to ask for it by.
    pub(crate) name: String,
    /// The promises, invariants and findings that it keeps.
    pub(crate) rows: Vec<String>,
    /// What it does, as a sentence without its stop.
    pub(crate) what: String,
    /// Where it is, from the root.
    pub(crate) file: String,
    /// Text that occurs once in the file.
    pub(crate) find: String,
    /// What takes its place.
    pub(crate) put: String,
    /// The package of the test.
    pub(crate) package: String,
    /// The test's function.
    pub(crate) test: String,
}

impl Guard {
    /// The file without this guard.
    ///
    /// # Errors
    ///
    /// If the text is not there exactly once.
    pub(crate) fn taken_out(&self, text: &str) -> Result<String> {
        let count = text.matches(&self.find).count();
        if count != 1 {
            bail!(
                "guard {}: its text is {count} times in {}, not once",
                self.name,
                self.file
            );
        }
        Ok(text.replacen(&self.find, &self.put, 1))
    }
}

/// Reads the list.
pub(crate) fn read() -> Result<Guards> {
    let text = std::fs::read_to_string(root().join(LIST)).with_context(|| format!("cannot read {LIST}"))?;
    toml::from_str(&text).with_context(|| format!("cannot understand {LIST}"))
}

/// Which guards are tried.
pub(crate) struct Wanted {
    /// Names or rows; none means all.
    pub(crate) named: Vec<String>,
    /// So many of them, drawn by lot.
    pub(crate) lot: Option<usize>,
    /// What the lot is drawn with: the same seed draws the same.
    pub(crate) seed: String,
}

fn chosen(guards: Vec<Guard>, wanted: &Wanted) -> Result<Vec<Guard>> {
    for name in &wanted.named {
        if !guards.iter().any(|g| g.name == *name || g.rows.contains(name)) {
            bail!("there is no guard {name}, and none of a row {name}");
        }
    }
    let is_named = |g: &Guard| {
        wanted.named.is_empty() || wanted.named.iter().any(|n| g.name == *n || g.rows.contains(n))
    };
    let mut chosen: Vec<Guard> = guards.into_iter().filter(is_named).collect();
    if let Some(count) = wanted.lot {
        chosen.sort_by_key(|guard| Sha256::digest(format!("{}\n{}", wanted.seed, guard.name)));
        chosen.truncate(count);
    }
    Ok(chosen)
}

/// What a run of tests said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Said {
    Passed,
    Failed,
    /// They could not be built, or not be found.
    Nothing,
}

fn run_tests(tree: &Path, build: &Path, package: &str, tests: &BTreeSet<&str>) -> Result<Said> {
    let any = tests.iter().map(|test| format!("test(/(^|::){test}$/)"));
    let filter = any.collect::<Vec<_>>().join(" or ");
    let status = Command::new("cargo")
        .args(["nextest", "run", "--cargo-profile", "release", "--no-fail-fast"])
        .args(["--status-level", "none", "--final-status-level", "fail"])
        .args(["--failure-output", "never", "--cargo-quiet"])
        .args(["-p", package, "-E", &filter])
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", build)
        .env("RUSTFLAGS", "--cap-lints=warn")
        .stdin(Stdio::null())
        .status()
        .context("cannot start cargo nextest; cargo xtask setup installs it")?;
    // The runner's own exit codes: 100 means that a test failed, others that none was run.
    Ok(match status.code() {
        Some(0) => Said::Passed,
        Some(100) => Said::Failed,
        _ => Said::Nothing,
    })
}

/// Tries the guards; one that nobody misses is an error.
pub(crate) fn guards(wanted: &Wanted) -> Result<()> {
    let list = chosen(read()?.guards, wanted)?;
    let folder = target().join("guards");
    let (tree, build) = (folder.join("tree"), folder.join("build"));
    copy::tree(&root(), &tree)?;
    copy::guests(&target(), &build)?;
    if wanted.lot.is_some() {
        println!("    drawn with --seed {}", wanted.seed);
    }
    let mut packages: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for guard in &list {
        packages.entry(&guard.package).or_default().insert(&guard.test);
    }
    for (package, tests) in packages {
        println!("    with their guards: {} tests of {package}", tests.len());
        if run_tests(&tree, &build, package, &tests)? != Said::Passed {
            bail!("tests of {package} do not pass with their guards in place");
        }
    }
    let mut unnoticed = Vec::new();
    for guard in &list {
        let file = tree.join(&guard.file);
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", guard.file))?;
        std::fs::write(&file, guard.taken_out(&text)?)?;
        let said = run_tests(&tree, &build, &guard.package, &[guard.test.as_str()].into());
        std::fs::write(&file, &text)?;
        let verdict = match said? {
            Said::Failed => "its test fails, as it must",
            Said::Passed => "NOBODY NOTICES",
            Said::Nothing => "IT DOES NOT COMPILE, which shows nothing",
        };
        println!(
            "{:<20} {:<16} {}: {verdict}",
            guard.name,
            guard.rows.join(" "),
            guard.test
        );
        if !verdict.starts_with("its") {
            unnoticed.push(guard.name.clone());
        }
    }
    if unnoticed.is_empty() {
        println!("    {} guards taken out, each missed by its test", list.len());
        return Ok(());
    }
    bail!("taken out without a test that fails: {}", unnoticed.join(", "))
}

/// Where an absolute path below one folder lies in another.
fn moved(path: &str, from: &Path, to: &Path) -> (PathBuf, PathBuf) {
    (from.join(path), to.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guard_is_where_the_list_says_and_its_test_exists() {
        let list = read().unwrap();
        let mut names = BTreeSet::new();
        for guard in &list.guards {
            assert!(names.insert(&guard.name), "twice: {}", guard.name);
            let text = std::fs::read_to_string(root().join(&guard.file)).unwrap();
            let without = guard.taken_out(&text).unwrap();
            assert!(without != text, "{} changes nothing", guard.name);
        }
        let sources = crate::tidy::files(".rs");
        for guard in &list.guards {
            let name = format!("fn {}(", guard.test);
            let found = sources.iter().filter(|(_, text)| text.contains(&name)).count();
            assert!(found == 1, "{} is {found} times", guard.test);
        }
    }

    #[test]
    fn a_lot_is_the_same_for_the_same_seed() {
        let draw = |seed: &str| {
            let wanted = Wanted {
                named: Vec::new(),
                lot: Some(3),
                seed: seed.to_owned(),
            };
            let drawn = chosen(read().unwrap().guards, &wanted).unwrap();
            drawn.into_iter().map(|guard| guard.name).collect::<Vec<_>>()
        };
        assert_eq!(draw("a"), draw("a"));
        assert_ne!(draw("a"), draw("b"));
        assert_eq!(draw("a").len(), 3);
    }
}
