//! A service with members, from its first start to an open application, and through restarts.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use client::governance::{Governance, ProposalSummary};
use client::{ClientError, Connection, Reply};
use model::proposal::{ProposalState, RawAction};
use model::{ProposalId, TxId};
use serde_json::{Value as JsonValue, json};
use tempfile::TempDir;

use crate::node::{Layout, Node};
use crate::people::Person;
use crate::{built, outcome};

/// The flag that every node of a test needs: there is no confidential platform here.
pub const INSECURE: &str = "--insecure-virtual";

/// One service on one node, in a folder of its own.
pub struct Service {
    _dir: TempDir,
    /// Its files.
    pub layout: Layout,
    /// Its members, in the order given.
    pub members: Vec<Person>,
    node: Option<Node>,
}

impl Service {
    /// Starts a new service; its members are accepted, the application is not there yet.
    /// `roots` are root keys of development chips that the node trusts.
    ///
    /// # Errors
    ///
    /// If the node does not start.
    pub async fn begin(names: &[&str], roots: &[String]) -> Result<Self> {
        let mut service = Self::prepare(names, roots)?;
        service.start().await?;
        Ok(service)
    }

    /// As [`Service::begin`]; then members become active, install the application and open.
    ///
    /// # Errors
    ///
    /// If a step is refused.
    pub async fn open(names: &[&str], roots: &[String]) -> Result<Self> {
        let service = Self::begin(names, roots).await?;
        service.activate().await?;
        service.install_and_open().await?;
        Ok(service)
    }

    /// Folder, keys and configuration of a service that is not started.
    ///
    /// # Errors
    ///
    /// If files cannot be written.
    pub fn prepare(names: &[&str], roots: &[String]) -> Result<Self> {
        let temporary = tempfile::tempdir()?;
        let layout = Layout {
            dir: temporary.path().to_owned(),
        };
        let members = names
            .iter()
            .map(|name| Person::with_encryption_key(&layout.dir, name))
            .collect::<Result<Vec<_>>>()?;
        let mut config = format!(
            "[node]\nledger_dir = \"ledger\"\nstate_dir = \"state\"\n\
             service_certificate_file = \"service_cert.pem\"\n\n\
             [service]\nconstitution = {:?}\nrecovery_threshold = {}\n",
            built::guest("constitution")?,
            members.len().min(2),
        );
        for Person { name, .. } in &members {
            write!(
                config,
                "\n[[service.members]]\ncertificate = \"{name}_cert.pem\"\n\
                 encryption_key = \"{name}_enc_pubk.pem\"\ndata = {{ identifier = {name:?} }}\n"
            )?;
        }
        write!(
            config,
            "\n[sealing]\nmode = \"insecure-virtual\"\n\n[attestation]\ninsecure_virtual_roots = {roots:?}\n"
        )?;
        std::fs::write(layout.config(), config)?;
        Ok(Self {
            _dir: temporary,
            layout,
            members,
            node: None,
        })
    }

    /// Starts the node on whatever is in its folders.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub async fn start(&mut self) -> Result<&Node> {
        let node = Node::start(&self.layout.config(), &self.layout.log(), &[INSECURE]).await?;
        Ok(self.node.insert(node))
    }

    /// Stops the node cleanly.
    ///
    /// # Errors
    ///
    /// If it does not stop, or not cleanly.
    pub async fn stop(&mut self) -> Result<()> {
        self.node.take().context("the node does not run")?.stop().await
    }

    /// Kills the node.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub async fn kill(&mut self) -> Result<()> {
        self.node.take().context("the node does not run")?.kill().await
    }

    /// Whether the process that was started is still the one that runs.
    ///
    /// # Errors
    ///
    /// If the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        self.node.as_mut().map_or(Ok(false), Node::is_running)
    }

    /// The node's process id; `None` if it does not run.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.node.as_ref().and_then(Node::pid)
    }

    /// Where the node answers.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn address(&self) -> Result<&str> {
        Ok(&self.node.as_ref().context("the node does not run")?.address)
    }

    /// The service certificate, PEM.
    ///
    /// # Errors
    ///
    /// If the node has not written it.
    pub fn service_cert(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.layout.service_cert())?)
    }

    /// A connection without credentials.
    ///
    /// # Errors
    ///
    /// If the node does not run.
    pub fn connection(&self) -> Result<Connection> {
        Ok(Connection::new(self.address()?, &self.service_cert()?, None)?)
    }

    /// A connection that shows a person's certificate.
    ///
    /// # Errors
    ///
    /// If the node does not run.
    pub fn connection_of(&self, person: &Person) -> Result<Connection> {
        let identity = person.identity()?;
        Ok(Connection::new(
            self.address()?,
            &self.service_cert()?,
            Some(&identity),
        )?)
    }

    /// The member at `index`.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn member(&self, index: usize) -> Result<&Person> {
        self.members.get(index).context("no such member")
    }

    /// The last committed transaction.
    ///
    /// # Errors
    ///
    /// If the node does not say.
    pub async fn committed(&self) -> Result<TxId> {
        let tree: JsonValue = self.connection()?.get("/node/state").await?.json()?;
        let seqno = tree
            .get("last_signed_seqno")
            .and_then(JsonValue::as_u64)
            .context("no last_signed_seqno")?;
        let tree: JsonValue = self.connection()?.get("/node/network").await?.json()?;
        let view = tree
            .get("current_view")
            .and_then(JsonValue::as_u64)
            .context("no current_view")?;
        Ok(TxId::new(view, seqno))
    }

    /// Every member acknowledges the state and so becomes active.
    ///
    /// # Errors
    ///
    /// If one is refused.
    pub async fn activate(&self) -> Result<()> {
        let connection = self.connection()?;
        for member in &self.members {
            Governance::new(&connection, &member.signer()?)
                .acknowledge()
                .await?;
        }
        Ok(())
    }

    /// Installs the application by vote and opens the service.
    ///
    /// # Errors
    ///
    /// If the vote is refused or fails.
    pub async fn install_and_open(&self) -> Result<()> {
        let component = std::fs::read(built::guest("governance")?)?;
        self.carry(&json!([
            set_wasm_app(&component),
            { "name": "transition_service_to_open", "args": { "next_service_identity": self.service_cert()? } },
        ]))
        .await?;
        Ok(())
    }

    /// Submits a proposal as the member at `index`.
    ///
    /// # Errors
    ///
    /// [`ClientError`] of the call; keys and actions that cannot be read count as usage.
    pub async fn propose(&self, index: usize, actions: &JsonValue) -> Result<ProposalSummary, ClientError> {
        let usage = |e: anyhow::Error| ClientError::Usage(e.to_string());
        let signer = self.member(index).and_then(Person::signer).map_err(usage)?;
        let actions: Vec<RawAction> = serde_json::from_value(actions.clone()).map_err(|e| usage(e.into()))?;
        let connection = self.connection().map_err(usage)?;
        Governance::new(&connection, &signer).propose(&actions).await
    }

    /// Votes as the member at `index`.
    ///
    /// # Errors
    ///
    /// As [`Service::propose`].
    pub async fn vote(
        &self,
        index: usize,
        proposal: &ProposalId,
        accept: bool,
    ) -> Result<ProposalSummary, ClientError> {
        let usage = |e: anyhow::Error| ClientError::Usage(e.to_string());
        let signer = self.member(index).and_then(Person::signer).map_err(usage)?;
        let connection = self.connection().map_err(usage)?;
        Governance::new(&connection, &signer).vote(proposal, accept).await
    }

    /// Proposes as the first member and has members accept, in order, until it is decided.
    ///
    /// # Errors
    ///
    /// If it is not accepted and applied.
    pub async fn carry(&self, actions: &JsonValue) -> Result<ProposalSummary> {
        let mut summary = self.propose(0, actions).await?;
        for index in 0..self.members.len() {
            if summary.proposal_state == ProposalState::Open {
                summary = self.vote(index, &summary.proposal_id, true).await?;
            }
        }
        ensure!(
            summary.proposal_state == ProposalState::Accepted,
            "not accepted and applied: {summary:?}"
        );
        Ok(summary)
    }

    /// Writes a draft as the first member; gives its version.
    ///
    /// # Errors
    ///
    /// If it is refused.
    pub async fn draft(&self, contract: &str, data: &JsonValue) -> Result<TxId> {
        let connection = self.connection_of(self.member(0)?)?;
        let reply = connection
            .put(&format!("/app/contracts/{contract}"), &json!({ "data": data }))
            .await?;
        reply.tx_id.context("a write answers with its transaction")
    }

    /// Reads a contract as the first member.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub async fn contract(&self, contract: &str) -> Result<JsonValue> {
        let connection = self.connection_of(self.member(0)?)?;
        outcome::json(connection.post_empty(&format!("/app/contracts/{contract}")).await)
    }

    /// The action that accepts the draft as it stands.
    ///
    /// # Errors
    ///
    /// If there is no draft.
    pub async fn set_contract(&self, contract: &str) -> Result<JsonValue> {
        let read = self.contract(contract).await?;
        Ok(json!([{ "name": "set_contract", "args": { "contractId": contract, "contract": read } }]))
    }

    /// A contract that every member accepted.
    ///
    /// # Errors
    ///
    /// If a step is refused.
    pub async fn accept_contract(&self, contract: &str) -> Result<ProposalSummary> {
        self.draft(contract, &json!({ "purpose": contract })).await?;
        self.carry(&self.set_contract(contract).await?).await
    }

    /// Adds one alternative to a contract's clean-room policy, by vote. `args` are the action's
    /// beside contract and type.
    ///
    /// # Errors
    ///
    /// If the vote fails.
    pub async fn accept_policy(&self, contract: &str, args: &JsonValue) -> Result<()> {
        let mut all = json!({ "contractId": contract, "type": "add" });
        if let (Some(all), Some(more)) = (all.as_object_mut(), args.as_object()) {
            all.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        self.carry(&json!([{ "name": "set_clean_room_policy", "args": all }]))
            .await?;
        Ok(())
    }

    /// Puts a secret as the first member; gives its id.
    ///
    /// # Errors
    ///
    /// If it is refused.
    pub async fn put_secret(&self, contract: &str, name: &str, value: &str) -> Result<String> {
        let connection = self.connection_of(self.member(0)?)?;
        let path = format!("/app/contracts/{contract}/secrets/{name}");
        let reply: Reply = connection.put(&path, &json!({ "value": value })).await?;
        let tree: JsonValue = reply.json()?;
        Ok(tree
            .get("secretId")
            .and_then(JsonValue::as_str)
            .context("no secretId")?
            .to_owned())
    }
}

/// The action that installs an application.
#[must_use]
pub fn set_wasm_app(component: &[u8]) -> JsonValue {
    json!({
        "name": "set_wasm_app",
        "args": { "component": model::b64::encode(component), "digest": crypto::sha256(component) },
    })
}

/// The action that installs a constitution.
#[must_use]
pub fn set_constitution(component: &[u8]) -> JsonValue {
    json!({
        "name": "set_constitution",
        "args": { "constitution": model::b64::encode(component), "digest": crypto::sha256(component) },
    })
}
