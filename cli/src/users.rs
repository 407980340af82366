//! Token issuers and the users registered under them.

use std::path::PathBuf;

use clap::Subcommand;
use cleanroom_model::Identifier;
use model::proposal::RawAction;
use serde_json::{Value as JsonValue, json};

use crate::answer::{Answer, Failure};
use crate::governance::propose;
use crate::session::{Session, list, read_json};

#[derive(Subcommand)]
pub(crate) enum UserCommand {
    /// Propose to trust a token issuer with the keys in a JWKS file
    ProposeIssuer {
        /// Issuer URL, as in the tokens' iss
        issuer: String,
        /// Key set, a JSON file
        #[arg(long)]
        jwks: PathBuf,
        /// Required `aud` of its tokens
        #[arg(long)]
        audience: Option<String>,
    },
    /// Propose to register a user of a trusted issuer
    ProposeIdentity {
        /// `oid`, or `sub` where there is none
        id: Identifier,
        /// Issuer URL
        #[arg(long)]
        issuer: String,
        /// Display name
        #[arg(long)]
        name: Option<String>,
    },
    /// Registered users
    List,
    /// Whether the service knows the user whose token is given
    Active,
}

pub(crate) async fn run(command: UserCommand, session: &Session) -> Result<Answer, Failure> {
    match command {
        UserCommand::ProposeIssuer {
            issuer,
            jwks,
            audience,
        } => {
            let mut args = json!({ "issuer": issuer, "jwks": read_json(&jwks)? });
            if let (Some(audience), Some(fields)) = (audience, args.as_object_mut()) {
                fields.insert("audience".to_owned(), audience.into());
            }
            propose(
                session,
                &[RawAction {
                    name: "set_jwt_issuer".to_owned(),
                    args,
                }],
            )
            .await
        }
        UserCommand::ProposeIdentity { id, issuer, name } => {
            let mut data = json!({ "issuer": issuer });
            if let (Some(name), Some(fields)) = (name, data.as_object_mut()) {
                fields.insert("identifier".to_owned(), name.into());
            }
            let args = json!({ "id": id, "accountType": "oidc", "data": data });
            propose(
                session,
                &[RawAction {
                    name: "set_user_identity".to_owned(),
                    args,
                }],
            )
            .await
        }
        UserCommand::List => Ok(Answer::tree(
            list(&session.connection()?, "/app/users/identities").await?,
        )),
        UserCommand::Active => {
            let answer: JsonValue = session
                .connection()?
                .post_empty("/app/users/identities/self/status")
                .await?
                .json()?;
            Ok(Answer::tree(answer))
        }
    }
}
