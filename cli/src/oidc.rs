//! The identity-token issuer of a contract.

use clap::Subcommand;
use cleanroom_model::ContractId;
use model::proposal::RawAction;
use serde_json::json;

use crate::answer::{Answer, Failure};
use crate::governance::propose;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum OidcCommand {
    /// Propose to give a contract an issuer of its own
    Enable {
        /// Contract id
        contract: ContractId,
        /// Key ids start with this
        #[arg(long)]
        kid: String,
        /// `iss` of its tokens, https
        #[arg(long)]
        url: Option<String>,
    },
    /// Make the signing key that the members enabled
    GenerateKey {
        /// Contract id
        contract: ContractId,
    },
    /// Discovery document and key set
    Show {
        /// Contract id
        contract: ContractId,
    },
}

pub(crate) async fn run(command: OidcCommand, session: &Session) -> Result<Answer, Failure> {
    match command {
        OidcCommand::Enable { contract, kid, url } => {
            let mut actions = vec![RawAction {
                name: "enable_oidc_issuer".to_owned(),
                args: json!({ "contractId": contract, "kid": kid }),
            }];
            if let Some(url) = url {
                actions.push(RawAction {
                    name: "set_oidc_issuer_url".to_owned(),
                    args: json!({ "contractId": contract, "issuer_url": url }),
                });
            }
            propose(session, &actions).await
        }
        OidcCommand::GenerateKey { contract } => {
            let path = format!("/app/contracts/{contract}/oidc/generateSigningKey");
            Ok(Answer::tree(
                session.connection()?.post_empty(&path).await?.json()?,
            ))
        }
        OidcCommand::Show { contract } => {
            let connection = session.connection()?;
            let base = format!("/app/contracts/{contract}/oidc");
            let discovery: serde_json::Value = connection
                .get(&format!("{base}/.well-known/openid-configuration"))
                .await?
                .json()?;
            let keys: serde_json::Value = connection.get(&format!("{base}/keys")).await?.json()?;
            Ok(Answer::tree(json!({ "discovery": discovery, "keys": keys })))
        }
    }
}
