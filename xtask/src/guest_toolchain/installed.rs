//! The pinned compiler with the prebuilt library of the target.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::compiler::{Compiler, sysroot};
use super::{GuestToolchain, RUSTUP_TIMEOUT};
use crate::guests::TARGET;
use crate::workspace::{root, run_with_limit};

/// Finds the target, or has rustup add it.
pub(super) fn find() -> Result<GuestToolchain> {
    let compiler = Compiler::pinned()?;
    let sysroot = sysroot()?;
    if !has_target(&sysroot) {
        println!("adding the target {TARGET} with rustup");
        run_with_limit(
            Command::new("rustup")
                .args(["target", "add", TARGET])
                .current_dir(root()),
            RUSTUP_TIMEOUT,
        )
        .with_context(|| format!("rustup could not add the target {TARGET}"))?;
        if !has_target(&sysroot) {
            bail!("rustup added the target {TARGET} to another toolchain than the one in use");
        }
    }
    Ok(GuestToolchain {
        name: "installed",
        says: format!("rustc {} with its prebuilt target", compiler.release),
        environment: Vec::new(),
        cargo_arguments: Vec::new(),
        renamed: vec![(sysroot.join("lib/rustlib/src/rust"), compiler.source_name())],
    })
}

fn has_target(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir()
}
