//! What a compiler says about itself.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::workspace::{output, root};

/// The answer of `rustc -vV`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Compiler {
    /// `1.95.0`
    pub(super) release: String,
    /// What the compiler itself calls its sources by.
    pub(super) commit: String,
    /// `x86_64-unknown-linux-gnu`
    pub(super) host: String,
}

impl Compiler {
    /// The compiler that cargo would use.
    pub(super) fn pinned() -> Result<Self> {
        Self::of(&mut rustc())
    }

    /// What this command, a compiler, says.
    pub(super) fn of(command: &mut Command) -> Result<Self> {
        Self::parse(&output(command.arg("-vV"))?)
    }

    fn parse(printed: &str) -> Result<Self> {
        let field = |name: &str| {
            printed
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(ToOwned::to_owned)
                .with_context(|| format!("the compiler does not say its {name}"))
        };
        Ok(Self {
            release: field("release")?,
            commit: field("commit-hash")?,
            host: field("host")?,
        })
    }

    /// What stands for the standard library's sources in a component.
    ///
    /// The compiler's own name for them, which it uses where they are not on the machine: whether
    /// they are must not change the component.
    pub(super) fn source_name(&self) -> String {
        format!("/rustc/{}", self.commit)
    }

    /// Major and minor number; none of anything that is not a release.
    pub(super) fn minor(&self) -> Option<(u32, u32)> {
        minor(&self.release)
    }
}

/// Major and minor number of a release or a package's version.
pub(super) fn minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.');
    let major = numbers.next()?.parse().ok()?;
    Some((major, numbers.next()?.parse().ok()?))
}

/// The pinned compiler, run in the checkout so that its toolchain file is heard.
fn rustc() -> Command {
    let mut command = Command::new("rustc");
    command.current_dir(root());
    command
}

/// Where the pinned compiler keeps its libraries.
pub(super) fn sysroot() -> Result<PathBuf> {
    let printed = output(rustc().args(["--print", "sysroot"]))?;
    Ok(printed.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_commit_and_host_are_read() {
        let printed = "rustc 1.96.0 (ac68 2026-05-25)\nbinary: rustc\ncommit-hash: ac68\n\
                       host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\n";
        let compiler = Compiler::parse(printed).unwrap();
        assert_eq!(compiler.release, "1.96.0");
        assert_eq!(compiler.host, "x86_64-unknown-linux-gnu");
        assert_eq!(compiler.source_name(), "/rustc/ac68");
        assert_eq!(compiler.minor(), Some((1, 96)));
        assert!(Compiler::parse("rustc 1.96.0").is_err());
    }

    #[test]
    fn only_versions_have_a_minor_number() {
        assert_eq!(minor("1.85.0+dfsg3-1~deb12u3"), Some((1, 85)));
        assert_eq!(minor("1"), None);
        assert_eq!(minor("nightly"), None);
    }
}
