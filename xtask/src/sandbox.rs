//! The development service: one node, open, on 127.0.0.1, with members and users whose keys lie in
//! a folder (decision 15). It drives the ordinary host and command line.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value as JsonValue, json};

use crate::cli::{Cli, Who, offline};
use crate::workspace::{program, target};

/// Longest wait for a node to answer, on a busy machine.
const START_WAIT: Duration = Duration::from_secs(180);
/// Longest wait for a node to stop, on a busy machine.
const STOP_WAIT: Duration = Duration::from_secs(60);
/// The file that says that the service is ready, and where.
const SUMMARY: &str = "sandbox.json";

/// What the sandbox is to consist of.
pub(crate) struct Plan {
    /// Folder for everything.
    pub(crate) dir: PathBuf,
    /// Display names of the members; their files are `member0…`.
    pub(crate) members: Vec<String>,
    /// How many certificate users.
    pub(crate) users: usize,
    /// Port, 0 for a free one.
    pub(crate) port: u16,
}

/// A running development service.
pub(crate) struct Sandbox {
    host: Child,
    /// Its folder.
    pub(crate) dir: PathBuf,
    /// Command line pointed at it.
    pub(crate) cli: Cli,
    /// Ids of the members, in order.
    pub(crate) member_ids: Vec<String>,
    /// From the start of the node's process to its first answer.
    pub(crate) answered_after: Duration,
    /// From the start of the node's process to the open service, all of it committed.
    pub(crate) opened_after: Duration,
}

impl Sandbox {
    /// Starts a new service in an empty folder, or the one that is there, and waits until it is open.
    pub(crate) fn start(plan: &Plan) -> Result<Self> {
        std::fs::create_dir_all(&plan.dir).with_context(|| format!("cannot make {}", plan.dir.display()))?;
        let dir = plan.dir.canonicalize()?;
        // Its presence means ready, so the last start's goes before anything else happens.
        withdraw(&dir)?;
        let (member_ids, user_ids) = identities(&dir, plan)?;
        write_configuration(&dir, plan.port, member_ids.len())?;
        let address_file = dir.join("node/address");
        // A file left by the last start must not be taken for this one's.
        let _ = std::fs::remove_file(&address_file);
        let started = Instant::now();
        let host = Command::new(program("concordat-host"))
            .args(["start", "--insecure-virtual", "--config"])
            .arg(dir.join("node/node.toml"))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(dir.join("node/node.log"))?)
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start concordat-host")?;
        let cli = Cli {
            address: String::new(),
            service_cert: dir.join("service_cert.pem"),
        };
        let mut sandbox = Self {
            host,
            dir,
            cli,
            member_ids,
            answered_after: Duration::ZERO,
            opened_after: Duration::ZERO,
        };
        sandbox.cli.address = sandbox.wait_for_address(&address_file)?;
        sandbox.answered_after = started.elapsed();
        sandbox.open(&user_ids)?;
        sandbox.opened_after = started.elapsed();
        let summary = json!({
            "address": sandbox.cli.address,
            "pid": sandbox.host.id(),
            "memberIds": sandbox.member_ids,
            "userIds": user_ids,
        });
        write_whole(&sandbox.dir.join(SUMMARY), &summary)?;
        Ok(sandbox)
    }

    /// Member number `index`, to act on the command line.
    pub(crate) fn member(&self, index: usize) -> Who {
        Who::Certificate(self.dir.join(format!("member{index}")))
    }

    /// Proposes actions as member 0 and has every member accept them.
    pub(crate) fn carry(&self, actions: &JsonValue) -> Result<String> {
        let file = self.dir.join("node/proposal.json");
        std::fs::write(&file, json!({ "actions": actions }).to_string())?;
        let file = file.to_string_lossy().into_owned();
        let proposal = self.cli.run(&self.member(0), &["proposal", "create", &file])?;
        let id = field(&proposal, "proposalId")?;
        let mut state = field(&proposal, "proposalState")?;
        for index in 0..self.member_ids.len() {
            if state == "Open" {
                let after = self
                    .cli
                    .run(&self.member(index), &["proposal", "vote", &id, "accept"])?;
                state = field(&after, "proposalState")?;
                if state == "Failed" {
                    bail!("proposal {id} was carried but could not be applied: {after}");
                }
            }
        }
        if state != "Accepted" {
            bail!("proposal {id} is {state} after every member accepted it");
        }
        Ok(id)
    }

    /// Opens the service, unless it is open: an earlier start may have ended before it came to that.
    /// Application, users and opening are one proposal, so nothing of it can be half done.
    fn open(&self, user_ids: &[String]) -> Result<()> {
        let info = self.cli.run(&Who::Anyone, &["service", "info"])?;
        if field(&info, "status")? == "Open" {
            return Ok(());
        }
        for index in 0..self.member_ids.len() {
            self.cli.run(&self.member(index), &["member", "ack"])?;
        }
        let component = std::fs::read(target().join("guests/governance.wasm"))
            .context("no application component; run cargo xtask guests")?;
        let mut actions = vec![json!({
            "name": "set_wasm_app",
            "args": { "component": model::b64::encode(&component), "digest": application_digest()? },
        })];
        for index in 0..user_ids.len() {
            let cert = std::fs::read_to_string(self.dir.join(format!("user{index}_cert.pem")))?;
            actions.push(json!({ "name": "set_user", "args": { "cert": cert } }));
        }
        actions.push(json!({
            "name": "transition_service_to_open",
            "args": { "next_service_identity": std::fs::read_to_string(&self.cli.service_cert)? },
        }));
        self.carry(&JsonValue::Array(actions))?;
        Ok(())
    }

    fn wait_for_address(&mut self, file: &Path) -> Result<String> {
        let started = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(file)
                && !text.trim().is_empty()
            {
                return Ok(format!("https://{}", text.trim()));
            }
            if let Some(status) = self.host.try_wait()? {
                let log = std::fs::read_to_string(self.dir.join("node/node.log")).unwrap_or_default();
                bail!("the node ended at start ({status}):\n{log}");
            }
            if started.elapsed() > START_WAIT {
                bail!(
                    "the node did not answer within {} s; see node/node.log",
                    START_WAIT.as_secs()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the node ends by itself or `stop` says so; then stops it cleanly.
    pub(crate) fn supervise(mut self, stop: &std::sync::atomic::AtomicBool) -> Result<()> {
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            if let Some(status) = self.host.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                bail!(
                    "the node ended: {status}; see {}",
                    self.dir.join("node/node.log").display()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.stop()
    }

    /// Stops the node cleanly: its chunk is closed.
    pub(crate) fn stop(&mut self) -> Result<()> {
        crate::workspace::terminate(self.host.id())?;
        let started = Instant::now();
        while started.elapsed() < STOP_WAIT {
            if self.host.try_wait()?.is_some() {
                return withdraw(&self.dir);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the node did not stop within {} s", STOP_WAIT.as_secs());
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Reached after a failure only; a node that was stopped has ended already.
        let _ = self.host.kill();
        let _ = self.host.wait();
    }
}

/// A text field of an answer.
pub(crate) fn field(tree: &JsonValue, name: &str) -> Result<String> {
    tree.get(name)
        .and_then(JsonValue::as_str)
        .map(ToOwned::to_owned)
        .with_context(|| format!("the answer has no {name}: {tree}"))
}

fn application_digest() -> Result<String> {
    let component = target()
        .join("guests/governance.wasm")
        .to_string_lossy()
        .into_owned();
    field(&offline(&["component", "digest", &component])?, "digest")
}

/// Takes back the word that the service is ready.
fn withdraw(dir: &Path) -> Result<()> {
    match std::fs::remove_file(dir.join(SUMMARY)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {SUMMARY} from {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Writes a file that readers see whole or not at all.
fn write_whole(path: &Path, tree: &JsonValue) -> Result<()> {
    let partial = path.with_extension("tmp");
    std::fs::write(&partial, tree.to_string())?;
    std::fs::rename(partial, path).with_context(|| format!("cannot write {}", path.display()))
}

/// Ids of members and users: those that are there, or new ones with their keys.
///
/// They are written down before the node starts, so that a start that fails later can be repeated
/// with the same keys.
fn identities(dir: &Path, plan: &Plan) -> Result<(Vec<String>, Vec<String>)> {
    let known = dir.join("node/identities.json");
    if known.exists() {
        return read_identities(&known);
    }
    clear_half_made(dir)?;
    let (member_ids, user_ids) = make_identities(dir, plan)?;
    write_whole(&known, &json!({ "memberIds": member_ids, "userIds": user_ids }))?;
    Ok((member_ids, user_ids))
}

/// Removes keys of a start that ended while it made them. No service has seen those: the node
/// starts after all of them are made.
fn clear_half_made(dir: &Path) -> Result<()> {
    // The folder is the first thing that is made; without it, nothing here is ours to remove.
    if !dir.join("node").exists() {
        return Ok(());
    }
    if dir.join("node/sealed_identity").exists() {
        bail!(
            "{} holds a service, but node/identities.json is gone; use another folder",
            dir.display()
        );
    }
    let attester = dir.join("attester");
    if attester.exists() {
        std::fs::remove_dir_all(attester)?;
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if is_key_file(&entry.file_name().to_string_lossy()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether this is a name that [`make_identities`] gives: `member0_privk.pem`, `user12_cert.pem`.
fn is_key_file(name: &str) -> bool {
    let Some((owner, kind)) = name.split_once('_') else {
        return false;
    };
    let number = owner
        .strip_prefix("member")
        .or_else(|| owner.strip_prefix("user"));
    number.is_some_and(|digits| digits.parse::<usize>().is_ok())
        && ["cert.pem", "privk.pem", "enc_pubk.pem", "enc_privk.pem"].contains(&kind)
}

fn make_identities(dir: &Path, plan: &Plan) -> Result<(Vec<String>, Vec<String>)> {
    for folder in ["node", "ledger", "snapshots", "attester"] {
        std::fs::create_dir_all(dir.join(folder))?;
    }
    let out = dir.to_string_lossy().into_owned();
    let mut members = Vec::new();
    for (index, name) in plan.members.iter().enumerate() {
        let made = offline(&["keys", "member", &format!("member{index}"), "--out", &out])?;
        members.push(field(&made, "memberId")?);
        std::fs::write(dir.join(format!("node/member{index}.name")), name)?;
    }
    let mut users = Vec::new();
    for index in 0..plan.users {
        let made = offline(&["keys", "user", &format!("user{index}"), "--out", &out])?;
        users.push(field(&made, "userId")?);
    }
    offline(&["attester", "init", &dir.join("attester").to_string_lossy()])?;
    Ok((members, users))
}

fn read_identities(known: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let tree: JsonValue = serde_json::from_str(&std::fs::read_to_string(known)?)?;
    let list = |name: &str| -> Vec<String> {
        let items = tree.get(name).and_then(JsonValue::as_array).into_iter().flatten();
        items
            .filter_map(|item| item.as_str().map(ToOwned::to_owned))
            .collect()
    };
    Ok((list("memberIds"), list("userIds")))
}

fn write_configuration(dir: &Path, port: u16, members: usize) -> Result<()> {
    let attester = dir.join("attester").to_string_lossy().into_owned();
    let root = field(&offline(&["attester", "root", &attester])?, "root")?;
    let constitution = target().join("guests/constitution.wasm");
    let threshold = members.min(2);
    let mut text = format!(
        "[node]\nbind = \"127.0.0.1:{port}\"\nledger_dir = \"../ledger\"\nstate_dir = \".\"\n\
         service_certificate_file = \"../service_cert.pem\"\naddress_file = \"address\"\n\n\
         [service]\nconstitution = {constitution:?}\nrecovery_threshold = {threshold}\n\n"
    );
    for index in 0..members {
        let name = std::fs::read_to_string(dir.join(format!("node/member{index}.name")))?;
        writeln!(
            text,
            "[[service.members]]\ncertificate = \"../member{index}_cert.pem\"\n\
             encryption_key = \"../member{index}_enc_pubk.pem\"\ndata = {{ identifier = {name:?} }}\n"
        )?;
    }
    writeln!(
        text,
        "[sealing]\nmode = \"insecure-virtual\"\n\n[attestation]\ninsecure_virtual_roots = [{root:?}]"
    )?;
    std::fs::write(dir.join("node/node.toml"), text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, files: &[&str]) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        for file in files {
            let path = dir.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        dir
    }

    #[test]
    fn keys_that_no_service_has_seen_are_made_again() {
        let half = [
            "node/member0.name",
            "attester/ark.key",
            "member0_privk.pem",
            "user10_cert.pem",
            "notes.pem",
        ];
        let dir = folder("half-made", &half);
        clear_half_made(&dir).unwrap();
        let left = half.map(|file| dir.join(file).exists());
        assert_eq!(left, [true, false, false, false, true]);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn keys_of_a_service_or_of_somebody_else_are_left_alone() {
        let service = folder("service", &["node/sealed_identity", "member0_privk.pem"]);
        let refused = clear_half_made(&service).unwrap_err().to_string();
        assert!(refused.contains("identities.json"), "{refused}");
        let foreign = folder("foreign", &["member0_privk.pem"]);
        clear_half_made(&foreign).unwrap();
        for dir in [service, foreign] {
            assert!(dir.join("member0_privk.pem").exists());
            std::fs::remove_dir_all(dir).unwrap();
        }
    }

    #[test]
    fn a_stopped_service_is_not_called_ready() {
        let dir = folder("withdrawn", &["sandbox.json"]);
        for _ in 0..2 {
            withdraw(&dir).unwrap();
            assert!(!dir.join("sandbox.json").exists());
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
