//! The service under load, and what its members do before the clock runs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use client::governance::{Governance, MemberKey, ProposalSummary};
use client::{Connection, Identity};
use model::proposal::{ProposalState, RawAction};
use serde_json::{Value as JsonValue, json};
use zeroize::Zeroizing;

use crate::wire::Dial;

/// An open service that a sandbox keeps.
pub(crate) struct Service {
    /// The sandbox's folder.
    pub(crate) dir: PathBuf,
    /// The node's process id.
    pub(crate) pid: String,
    /// `https://host:port`.
    pub(crate) address: String,
    cert_pem: String,
    members: Vec<MemberKey>,
}

impl Service {
    /// Reads `sandbox.json` and the members' keys beside it.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("sandbox.json");
        let text = std::fs::read(&path).with_context(|| format!("no sandbox runs in {}", dir.display()))?;
        let tree: JsonValue = serde_json::from_slice(&text)?;
        let count = tree["memberIds"].as_array().map_or(0, Vec::len);
        let members = (0..count)
            .map(|index| {
                let identity = identity(dir, &format!("member{index}"))?;
                Ok(MemberKey::from_pem(&identity.cert_pem, &identity.key_pem)?)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            dir: dir.to_owned(),
            pid: tree["pid"]
                .as_u64()
                .context("no pid in sandbox.json")?
                .to_string(),
            address: tree["address"]
                .as_str()
                .context("no address in sandbox.json")?
                .to_owned(),
            cert_pem: std::fs::read_to_string(dir.join("service_cert.pem"))?,
            members,
        })
    }

    /// Raw connections that show the certificate of `who` (`member0`, `user0`).
    pub(crate) fn dial(&self, who: &str) -> Result<Dial> {
        let authority = self.address.trim_start_matches("https://");
        Dial::new(authority, &self.cert_pem, &identity(&self.dir, who)?)
    }

    /// Raw connections that show no certificate.
    pub(crate) fn dial_as_nobody(&self) -> Result<Dial> {
        Dial::nobody(self.address.trim_start_matches("https://"), &self.cert_pem)
    }

    /// The first member's key.
    pub(crate) fn first_member(&self) -> Result<&MemberKey> {
        self.members.first().context("the sandbox has no members")
    }

    /// A connection of the ordinary client, as `who` or as nobody.
    pub(crate) fn connection(&self, who: Option<&str>) -> Result<Connection> {
        let identity = who.map(|who| identity(&self.dir, who)).transpose()?;
        Ok(Connection::new(&self.address, &self.cert_pem, identity.as_ref())?)
    }

    /// Writes a draft of about 200 characters as the first member.
    pub(crate) async fn draft(&self, contract: &str) -> Result<()> {
        let connection = self.connection(Some("member0"))?;
        let body: JsonValue = serde_json::from_str(&contract_body())?;
        connection
            .put(&format!("/app/contracts/{contract}"), &body)
            .await?;
        Ok(())
    }

    /// The action that accepts a draft as it stands.
    pub(crate) async fn set_contract(&self, contract: &str) -> Result<JsonValue> {
        let connection = self.connection(Some("member0"))?;
        let read: JsonValue = connection
            .post_empty(&format!("/app/contracts/{contract}"))
            .await?
            .json()?;
        Ok(json!([{ "name": "set_contract", "args": { "contractId": contract, "contract": read } }]))
    }

    /// Proposes as the first member; then every member votes, in order, while it is open. Gives the
    /// number of votes cast.
    pub(crate) async fn carry(&self, connection: &Connection, actions: &JsonValue) -> Result<usize> {
        let actions: Vec<RawAction> = serde_json::from_value(actions.clone())?;
        let first = self.members.first().context("the sandbox has no members")?;
        let mut summary: ProposalSummary = Governance::new(connection, first).propose(&actions).await?;
        let mut votes = 0;
        for member in &self.members {
            if summary.proposal_state == ProposalState::Open {
                summary = Governance::new(connection, member)
                    .vote(&summary.proposal_id, true)
                    .await?;
                votes += 1;
            }
        }
        ensure!(
            summary.proposal_state == ProposalState::Accepted,
            "not accepted: {summary:?}"
        );
        Ok(votes)
    }

    /// A contract that the members accepted.
    pub(crate) async fn accept_contract(&self, contract: &str) -> Result<()> {
        self.draft(contract).await?;
        let actions = self.set_contract(contract).await?;
        self.carry(&self.connection(None)?, &actions).await?;
        Ok(())
    }
}

/// A body of 200 characters for a contract or a document.
pub(crate) fn contract_body() -> String {
    let filler = "x".repeat(200 - r#"{"data":{"text":""}}"#.len());
    format!(r#"{{"data":{{"text":"{filler}"}}}}"#)
}

fn identity(dir: &Path, who: &str) -> Result<Identity> {
    let read = |suffix: &str| {
        let path = dir.join(format!("{who}_{suffix}.pem"));
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    Ok(Identity {
        cert_pem: read("cert")?,
        key_pem: Zeroizing::new(read("privk")?),
    })
}
