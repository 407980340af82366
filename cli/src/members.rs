//! Members: list, acknowledge, and the proposals that change who they are.

use std::path::PathBuf;

use clap::Subcommand;
use client::governance::{Governance, read};
use crypto::x509::Certificate;
use model::MemberId;
use model::proposal::RawAction;
use serde_json::{Value as JsonValue, json};

use crate::answer::{Answer, Failure};
use crate::governance::propose;
use crate::session::{Session, read_json, read_text};

#[derive(Subcommand)]
pub(crate) enum MemberCommand {
    /// Every member with its status
    List,
    /// Acknowledge the current state; makes an accepted member active
    Ack,
    /// The id of a certificate
    Id {
        /// Certificate, PEM
        cert: PathBuf,
    },
    /// Propose a new member
    Add {
        /// Its certificate, PEM
        new_cert: PathBuf,
        /// Its RSA encryption key, PEM; with one it takes part in recovery
        #[arg(long)]
        encryption_key: Option<PathBuf>,
        /// Member data, a JSON file
        #[arg(long)]
        data: Option<PathBuf>,
    },
    /// Propose to remove a member
    Remove {
        /// Member id
        id: MemberId,
    },
}

pub(crate) async fn run(command: MemberCommand, session: &Session) -> Result<Answer, Failure> {
    match command {
        MemberCommand::List => {
            let list = read(&session.connection()?, "service/members").await?;
            let lines: Vec<String> = list
                .pointer("/value")
                .and_then(JsonValue::as_array)
                .into_iter()
                .flatten()
                .map(|item| {
                    let text = |pointer: &str| {
                        item.pointer(pointer)
                            .and_then(JsonValue::as_str)
                            .unwrap_or_default()
                    };
                    format!(
                        "{}  {}  {}",
                        text("/memberId"),
                        text("/status"),
                        text("/memberData/identifier")
                    )
                })
                .collect();
            Ok(Answer::new(list, lines.join("\n")))
        }
        MemberCommand::Ack => {
            let member = session.member()?;
            let digest = Governance::new(&session.connection()?, &member)
                .acknowledge()
                .await?;
            let id = member.id();
            Ok(Answer::new(
                json!({ "memberId": id, "stateDigest": digest }),
                format!("{id} acknowledged {digest}"),
            ))
        }
        MemberCommand::Id { cert } => {
            let cert =
                Certificate::from_pem(&read_text(&cert)?).map_err(|e| Failure::Usage(e.to_string()))?;
            let id = cert.id().to_string();
            Ok(Answer::new(json!({ "memberId": id }), id))
        }
        MemberCommand::Add {
            new_cert,
            encryption_key,
            data,
        } => {
            let mut args = json!({ "cert": read_text(&new_cert)? });
            if let Some(fields) = args.as_object_mut() {
                if let Some(path) = encryption_key {
                    fields.insert("encryption_pub_key".to_owned(), read_text(&path)?.into());
                }
                if let Some(path) = data {
                    fields.insert("member_data".to_owned(), read_json(&path)?);
                }
            }
            propose(
                session,
                &[RawAction {
                    name: "set_member".to_owned(),
                    args,
                }],
            )
            .await
        }
        MemberCommand::Remove { id } => {
            let args = json!({ "member_id": id });
            propose(
                session,
                &[RawAction {
                    name: "remove_member".to_owned(),
                    args,
                }],
            )
            .await
        }
    }
}
