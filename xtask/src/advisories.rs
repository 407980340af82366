//! `cargo xtask advisories`: whether a dependency has a known advisory.
//!
//! Not part of the gate: the answer changes while the code does not, and the database is no package
//! of a registry. Who maintains the project runs it before each release and each week; see
//! `docs/maintaining.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::ci::cargo_deny;
use crate::workspace::{run, target};

/// What is said where no database can be had.
const NO_DATABASE: &str = "the check did not pass. If the text above names an advisory, see docs/maintaining.md for what to do. If it \
     says that no database could be fetched, give one: --database DIR, a copy of the RustSec advisory database (the folder with \
     `crates` in it)";

/// Address under which a given database goes; nobody has it.
const GIVEN_URL: &str = "https://given.invalid/advisories";

/// Runs the check against the database in `database`, or against one that cargo-deny fetches.
pub(crate) fn advisories(database: Option<&Path>) -> Result<()> {
    let folder = target().join("advisories");
    fs::create_dir_all(&folder)?;
    let source = match database {
        Some(dir) => Some(repository(dir, &folder.join("given"))?),
        None => None,
    };
    let databases = folder.join("databases");
    if source.is_some() && databases.exists() {
        // What was given before has another history.
        fs::remove_dir_all(&databases)?;
    }
    let config = folder.join("deny.toml");
    fs::write(&config, settings(&databases, source.is_some())?)?;
    let mut check = cargo_deny()?;
    check.args(["deny", "--locked", "--config"]).arg(&config);
    check.args(["check", "advisories"]);
    if let Some(source) = &source {
        // It takes no address without a host; git is told that this one is the folder.
        check
            .env("GIT_CONFIG_COUNT", "1")
            .env(
                "GIT_CONFIG_KEY_0",
                format!("url.file://{}.insteadOf", source.display()),
            )
            .env("GIT_CONFIG_VALUE_0", GIVEN_URL);
    }
    run(&mut check).context(NO_DATABASE)
}

/// The settings of the check. Nothing is let through: an advisory that does not concern us is named
/// here with its reason, when there is one.
fn settings(databases: &Path, given: bool) -> Result<String> {
    // A basic string of TOML and a string of JSON are escaped alike.
    let quoted = |path: &Path| -> Result<String> {
        let text = path.to_str().context("the folder's name is not UTF-8")?;
        Ok(serde_json::to_string(text)?)
    };
    let mut text = format!(
        "[graph]\ntargets = [\"x86_64-unknown-linux-gnu\", \"wasm32-unknown-unknown\"]\n\n\
         [advisories]\nversion = 2\ndb-path = {}\nyanked = \"warn\"\nunmaintained = \"all\"\nignore = []\n",
        quoted(databases)?
    );
    if given {
        let _ = writeln!(text, "db-urls = [{}]", serde_json::to_string(GIVEN_URL)?);
    }
    Ok(text)
}

/// The database as a repository with the branch that is asked for, whatever it is itself: what was
/// unpacked from an archive is none.
fn repository(dir: &Path, copy: &Path) -> Result<PathBuf> {
    let dir = dir
        .canonicalize()
        .with_context(|| format!("there is no folder {}", dir.display()))?;
    if !dir.join("crates").is_dir() {
        bail!(
            "{} is no advisory database: it has no folder `crates`",
            dir.display()
        );
    }
    if copy.exists() {
        fs::remove_dir_all(copy)?;
    }
    run(Command::new("cp").arg("-R").arg(&dir).arg(copy))?;
    // Not the committer's name and settings: nobody reads this history.
    let steps = "rm -rf .git && git init --quiet --initial-branch main . && git add --all . && \
                 git -c user.name=x -c user.email=x@invalid -c commit.gpgsign=false commit --quiet --message copy";
    run(Command::new("sh").args(["-c", steps]).current_dir(copy))?;
    Ok(copy.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let dir = target().join("tmp").join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_folder_that_is_no_database_is_refused_by_name() {
        let dir = folder("advisories-none");
        let said = |dir: &Path| format!("{:#}", repository(dir, &dir.join("copy")).unwrap_err());
        assert!(said(&dir).contains("no folder `crates`"), "{}", said(&dir));
        assert!(said(&dir.join("missing")).contains("there is no folder"));
    }

    #[test]
    fn an_unpacked_database_becomes_a_repository_each_time_anew() {
        let dir = folder("advisories-some");
        let (given, copy) = (dir.join("given"), dir.join("copy"));
        fs::create_dir_all(given.join("crates/a")).unwrap();
        fs::write(given.join("crates/a/one.md"), "1").unwrap();
        assert_eq!(repository(&given, &copy).unwrap(), copy);
        fs::remove_file(given.join("crates/a/one.md")).unwrap();
        fs::write(given.join("crates/a/two.md"), "2").unwrap();
        repository(&given, &copy).unwrap();
        assert!(copy.join("crates/a/two.md").exists() && !copy.join("crates/a/one.md").exists());
        let log = Command::new("git")
            .args(["log", "--oneline"])
            .current_dir(&copy)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&log.stdout).lines().count(), 1);
        // A repository with another branch becomes one too.
        let other = repository(&copy, &dir.join("other")).unwrap();
        let branch = Command::new("git")
            .args(["branch", "--show-current"])
            .current_dir(other)
            .output();
        assert_eq!(branch.unwrap().stdout, b"main\n");
    }

    #[test]
    fn settings_name_a_given_database_and_no_other() {
        let text = settings(Path::new("/d b"), true).unwrap();
        let tree: toml::Table = toml::from_str(&text).unwrap();
        let advisories = tree["advisories"].as_table().unwrap();
        assert_eq!(advisories["db-path"].as_str(), Some("/d b"));
        assert_eq!(advisories["db-urls"][0].as_str(), Some(GIVEN_URL));
        assert!(!settings(Path::new("/d"), false).unwrap().contains("db-urls"));
    }
}
