//! Who is in the story, and where their things lie.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value as JsonValue, json};

use super::background::Background;
use crate::cli::{Cli, CliError, Who, offline};
use crate::sandbox::{Sandbox, field};

type JsonMap = serde_json::Map<String, JsonValue>;

/// The contract of the story.
pub(crate) const CONTRACT: &str = "flight-delays";
/// The query document.
pub(crate) const QUERY: &str = "delay-by-manufacturer";
/// The sink's document.
pub(crate) const SINK: &str = "delay-report";
/// `aud` of the token that the pod shows the sink's relying party.
pub(crate) const AUDIENCE: &str = "api://AzureADTokenExchange";
/// Fewest distinct planes of a group in the result, and the input k-min of the flights.
pub(crate) const GROUP_MIN: u64 = 10;
/// Fewest rows the flights must have for the query to run at all.
pub(crate) const FLIGHTS_MIN: u64 = 10_000;

/// The organisations, in the order of their member files; each owns one dataset.
pub(crate) const ORGANISATIONS: [(&str, &str); 3] = [
    ("airline", "flights"),
    ("airport", "weather"),
    ("registry", "planes"),
];

/// The query that is voted.
pub(crate) const SQL: &str = "\
SELECT p.manufacturer AS manufacturer,
       CASE WHEN w.visib >= 10 THEN 'clear' WHEN w.visib >= 3 THEN 'hazy' ELSE 'poor' END AS visibility,
       AVG(f.dep_delay) AS mean_dep_delay,
       COUNT(DISTINCT f.tailnum) AS planes
FROM flights f
JOIN planes p ON f.tailnum = p.tailnum
JOIN weather w ON f.origin = w.origin AND f.time_hour = w.time_hour
WHERE f.dep_delay IS NOT NULL
GROUP BY p.manufacturer,
         CASE WHEN w.visib >= 10 THEN 'clear' WHEN w.visib >= 3 THEN 'hazy' ELSE 'poor' END";

/// The running story.
pub(crate) struct Story {
    pub(crate) dir: PathBuf,
    pub(crate) sandbox: Sandbox,
    #[allow(dead_code, reason = "held, because dropping it stops the identity provider")]
    pub(crate) provider: Background,
    pub(crate) issuer: JsonValue,
    /// Proposals that were carried, by what they decided, with the transaction of the last vote.
    pub(crate) decisions: RefCell<Vec<(&'static str, JsonValue)>>,
}

impl Story {
    /// Keeps the answer to the vote that carried a proposal.
    pub(crate) fn decided(&self, what: &'static str, last: &JsonValue) {
        self.decisions.borrow_mut().push((what, last.clone()));
    }

    /// Every id that a reader of the record needs to look further.
    pub(crate) fn ids(&self) -> Result<JsonValue> {
        let member_ids = ORGANISATIONS.iter().zip(&self.sandbox.member_ids);
        let members: JsonMap = member_ids
            .map(|((name, _), id)| ((*name).to_owned(), json!(id)))
            .collect();
        let mut users = JsonMap::new();
        for (name, _) in ORGANISATIONS {
            users.insert(name.to_owned(), json!(self.steward_id(name)?));
        }
        let (mut proposals, mut transactions) = (JsonMap::new(), JsonMap::new());
        for (what, last) in self.decisions.borrow().iter() {
            proposals.insert((*what).to_owned(), last.get("proposalId").cloned().into());
            transactions.insert((*what).to_owned(), last.get("transactionId").cloned().into());
        }
        Ok(json!({
            "members": members,
            "users": users,
            "contract": CONTRACT,
            "proposals": proposals,
            "transactions": transactions,
        }))
    }

    /// The command line.
    pub(crate) fn cli(&self) -> &Cli {
        &self.sandbox.cli
    }

    /// The member of organisation `index`.
    pub(crate) fn member(&self, index: usize) -> Who {
        self.sandbox.member(index)
    }

    /// The data steward of an organisation.
    pub(crate) fn steward(&self, name: &str) -> Who {
        Who::Token(self.dir.join("identity-provider").join(format!("{name}.token")))
    }

    /// The steward's user id.
    pub(crate) fn steward_id(&self, name: &str) -> Result<String> {
        self.issuer
            .pointer(&format!("/users/{name}"))
            .and_then(JsonValue::as_str)
            .map(ToOwned::to_owned)
            .with_context(|| format!("no user for {name}"))
    }

    /// A file of the story as text for an argument.
    pub(crate) fn path(&self, relative: &str) -> String {
        self.dir.join(relative).to_string_lossy().into_owned()
    }

    /// Proposes actions as organisation `proposer` and has the listed organisations accept them.
    pub(crate) fn carry(
        &self,
        what: &'static str,
        proposer: usize,
        voters: &[usize],
        actions: &JsonValue,
    ) -> Result<()> {
        let file = self.dir.join("proposal.json");
        std::fs::write(&file, json!({ "actions": actions }).to_string())?;
        let made = self.cli().run(
            &self.member(proposer),
            &["proposal", "create", &file.to_string_lossy()],
        )?;
        let id = field(&made, "proposalId")?;
        let mut last = made;
        for voter in voters {
            last = self
                .cli()
                .run(&self.member(*voter), &["proposal", "vote", &id, "accept"])?;
        }
        let state = field(&last, "proposalState")?;
        if state != "Accepted" {
            bail!("proposal {id} is {state} after its voters accepted it: {last}");
        }
        self.decided(what, &last);
        Ok(())
    }

    /// State of a document.
    pub(crate) fn document_state(&self, who: &Who, id: &str) -> Result<String> {
        field(
            &self.cli().run(who, &["document", "show", CONTRACT, id])?,
            "state",
        )
    }
}

/// The service's refusal in an error; anything else is passed on.
pub(crate) fn refusal(result: Result<JsonValue>) -> Result<CliError> {
    match result {
        Ok(answer) => bail!("expected a refusal, got {answer}"),
        Err(error) => match error.downcast::<CliError>() {
            Ok(refused) if refused.exit_code == 4 => Ok(refused),
            Ok(other) => Err(other.into()),
            Err(other) => Err(other),
        },
    }
}

/// Makes a launch document and gives its digest, the host data.
pub(crate) fn launch_document(out: &Path, arguments: &[&str]) -> Result<String> {
    let out = out.to_string_lossy().into_owned();
    let mut command = vec!["policy", "host-data", "--out", &out];
    command.extend_from_slice(arguments);
    field(&offline(&command)?, "hostData")
}
