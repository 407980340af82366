//! Proposals: submit, vote, withdraw, read.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use client::governance::{Governance, ProposalSummary, proposal, read};
use model::ProposalId;
use model::proposal::{ProposalBody, RawAction};
use serde_json::Value as JsonValue;

use crate::answer::{Answer, Failure};
use crate::session::{Session, read_json};

#[derive(Subcommand)]
pub(crate) enum ProposalCommand {
    /// Submit the proposal in a JSON file: {"actions":[{"name","args"}]}
    Create {
        /// The file
        file: PathBuf,
    },
    /// Vote on a proposal
    Vote {
        /// Proposal id
        id: ProposalId,
        /// For or against
        vote: VoteArgument,
    },
    /// Take your own open proposal back
    Withdraw {
        /// Proposal id
        id: ProposalId,
    },
    /// Where a proposal stands
    Show {
        /// Proposal id
        id: ProposalId,
    },
    /// The actions of a proposal, as submitted
    Actions {
        /// Proposal id
        id: ProposalId,
    },
    /// Every proposal
    List,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum VoteArgument {
    /// For
    Accept,
    /// Against
    Reject,
}

pub(crate) async fn run(command: ProposalCommand, session: &Session) -> Result<Answer, Failure> {
    let connection = session.connection()?;
    match command {
        ProposalCommand::Create { file } => {
            let body: ProposalBody = serde_json::from_value(read_json(&file)?)
                .map_err(|e| Failure::Usage(format!("{} is not a proposal: {e}", file.display())))?;
            propose(session, &body.actions).await
        }
        ProposalCommand::Vote { id, vote } => {
            let member = session.member()?;
            let accept = matches!(vote, VoteArgument::Accept);
            Ok(describe(
                &Governance::new(&connection, &member).vote(&id, accept).await?,
            ))
        }
        ProposalCommand::Withdraw { id } => {
            let member = session.member()?;
            Ok(describe(
                &Governance::new(&connection, &member).withdraw(&id).await?,
            ))
        }
        ProposalCommand::Show { id } => Ok(describe(&proposal(&connection, &id).await?)),
        ProposalCommand::Actions { id } => Ok(Answer::tree(
            read(&connection, &format!("members/proposals/{id}/actions")).await?,
        )),
        ProposalCommand::List => {
            let list = read(&connection, "members/proposals").await?;
            let lines: Vec<String> = list
                .pointer("/value")
                .and_then(JsonValue::as_array)
                .into_iter()
                .flatten()
                .map(|item| {
                    let field = |name: &str| {
                        item.get(name)
                            .and_then(JsonValue::as_str)
                            .unwrap_or_default()
                            .to_owned()
                    };
                    format!("{}  {}", field("proposalId"), field("proposalState"))
                })
                .collect();
            Ok(Answer::new(list, lines.join("\n")))
        }
    }
}

/// Submits actions as the acting member and describes what became of them.
pub(crate) async fn propose(session: &Session, actions: &[RawAction]) -> Result<Answer, Failure> {
    let connection = session.connection()?;
    let member = session.member()?;
    Ok(describe(
        &Governance::new(&connection, &member).propose(actions).await?,
    ))
}

/// A proposal in one or two lines.
pub(crate) fn describe(summary: &ProposalSummary) -> Answer {
    let mut text = format!(
        "{} is {:?}, {} ballots",
        summary.proposal_id, summary.proposal_state, summary.ballot_count
    );
    if let Some(failure) = &summary.failure {
        let reason = failure
            .get("reason")
            .and_then(JsonValue::as_str)
            .unwrap_or_default();
        text.push_str(&format!("\n{reason}"));
    }
    Answer::new(serde_json::to_value(summary).unwrap_or_default(), text)
}
