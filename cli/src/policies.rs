//! Clean-room policies.

use std::path::PathBuf;

use clap::Subcommand;
use cleanroom_model::ContractId;
use model::proposal::RawAction;

use crate::answer::{Answer, Failure};
use crate::governance::propose;
use crate::launch::{HostDataArguments, host_data};
use crate::session::{Session, read_json};

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Compute the host data of a program from its files, as every owner can
    HostData(HostDataArguments),
    /// Propose changes of a contract's policy in one proposal
    Propose {
        /// Contract id
        contract: ContractId,
        /// JSON files with the arguments of set_clean_room_policy, without contractId
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// The policy in force, with its alternatives, and open proposals
    Show {
        /// Contract id
        contract: ContractId,
    },
}

pub(crate) async fn run(command: PolicyCommand, session: &Session) -> Result<Answer, Failure> {
    match command {
        PolicyCommand::HostData(arguments) => host_data(arguments),
        PolicyCommand::Propose { contract, files } => {
            let mut actions = Vec::new();
            for file in &files {
                let mut args = read_json(file)?;
                let fields = args
                    .as_object_mut()
                    .ok_or_else(|| Failure::Usage(format!("{} is not a JSON object", file.display())))?;
                // The contract is the one named on the command line, never one inside a file.
                fields.insert("contractId".to_owned(), contract.as_str().into());
                actions.push(RawAction {
                    name: "set_clean_room_policy".to_owned(),
                    args,
                });
            }
            propose(session, &actions).await
        }
        PolicyCommand::Show { contract } => {
            let path = format!("/app/contracts/{contract}/cleanroompolicy");
            Ok(Answer::tree(
                session.connection()?.post_empty(&path).await?.json()?,
            ))
        }
    }
}
