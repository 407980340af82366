//! `concordat`: members, users, operators and auditors at a terminal.
//!
//! Every command prints text for people, or with `--json` one JSON document for programs. Exit
//! codes: 0 done, 1 our fault, 2 wrong usage, 3 service unreachable, 4 the service said no,
//! 5 *verification failed*, the one never to ignore.

mod answer;
mod attester;
mod audit;
mod cleanroom;
mod components;
mod contracts;
mod dataset;
mod documents;
mod governance;
mod keys;
mod launch;
mod members;
mod oidc;
mod operate;
mod policies;
mod queries;
mod receipt;
mod secrets;
mod session;
mod sql;
mod users;

use clap::{Parser, Subcommand};

use crate::answer::{Answer, Failure};
use crate::session::{Options, Session};

/// Talk to a Concordat service, or check what it left behind.
#[derive(Parser)]
#[command(name = "concordat", version, max_term_width = 100)]
struct Arguments {
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What the service says of itself; open it
    #[command(subcommand)]
    Service(operate::ServiceCommand),
    /// Make keys and certificates for members, users and datasets
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Members: list, acknowledge, change
    #[command(subcommand)]
    Member(members::MemberCommand),
    /// Proposals: submit, vote, withdraw, read
    #[command(subcommand)]
    Proposal(governance::ProposalCommand),
    /// Application and constitution components
    #[command(subcommand)]
    Component(components::ComponentCommand),
    /// Contracts: draft, propose, read, pause
    #[command(subcommand)]
    Contract(contracts::ContractCommand),
    /// Clean-room policies and the host data they are made of
    #[command(subcommand)]
    Policy(policies::PolicyCommand),
    /// User documents: publish, vote, read, pause
    #[command(subcommand)]
    Document(documents::DocumentCommand),
    /// Secrets: store, list. Nobody can read one back but an attested pod
    #[command(subcommand)]
    Secret(secrets::SecretCommand),
    /// Identity tokens: issuer, signing key
    #[command(subcommand)]
    Oidc(oidc::OidcCommand),
    /// Token issuers and registered users
    #[command(subcommand)]
    User(users::UserCommand),
    /// Events that clean rooms left on the ledger
    #[command(subcommand)]
    Event(cleanroom::EventCommand),
    /// Datasets: encrypt and decrypt files at rest
    #[command(subcommand)]
    Dataset(dataset::DatasetCommand),
    /// Queries: what stands in the way, ask for a run, end it, see where it stands
    #[command(subcommand)]
    Query(queries::QueryCommand),
    /// Receipts: fetch and verify, or verify offline
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
    /// Check a ledger directory: every signature, certificate and entry
    Audit(audit::AuditArguments),
    /// The software attester for development
    #[command(subcommand)]
    Attester(attester::AttesterCommand),
}

async fn run(command: Command, session: &Session) -> Result<Answer, Failure> {
    match command {
        Command::Service(command) => operate::run(command, session).await,
        Command::Keys(command) => keys::run(&command),
        Command::Member(command) => members::run(command, session).await,
        Command::Proposal(command) => governance::run(command, session).await,
        Command::Component(command) => components::run(command, session).await,
        Command::Contract(command) => contracts::run(command, session).await,
        Command::Policy(command) => policies::run(command, session).await,
        Command::Document(command) => documents::run(command, session).await,
        Command::Secret(command) => secrets::run(command, session).await,
        Command::Oidc(command) => oidc::run(command, session).await,
        Command::User(command) => users::run(command, session).await,
        Command::Event(command) => cleanroom::run(command, session).await,
        Command::Dataset(command) => dataset::run(&command),
        Command::Query(command) => queries::run(command, session).await,
        Command::Receipt(command) => receipt::run(command, session).await,
        Command::Audit(arguments) => audit::run(&arguments, session),
        Command::Attester(command) => attester::run(&command),
    }
}

/// The arguments, or how to end: wrong ones are told to programs, too, the way they asked for.
fn arguments() -> Result<Arguments, std::process::ExitCode> {
    Arguments::try_parse().map_err(|error| {
        let as_json = std::env::args_os()
            .take_while(|argument| argument != "--")
            .any(|argument| argument == "--json");
        if as_json && error.use_stderr() {
            let text = error.render().to_string();
            let text = text.trim().trim_start_matches("error: ");
            answer::fail(&Failure::Usage(text.to_owned()), true)
        } else {
            error.exit()
        }
    })
}

fn main() -> std::process::ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(ended) => return ended,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return answer::fail(&Failure::Ours(format!("cannot start: {e}")), arguments.json),
    };
    let session = Session::new(arguments.options);
    let outcome = runtime.block_on(async {
        let answer = run(arguments.command, &session).await?;
        // What was answered is part of what the next command demands to see.
        session.remember().await?;
        Ok(answer)
    });
    match outcome {
        Ok(answer) => answer::print(&answer, arguments.json),
        Err(failure) => answer::fail(&failure, arguments.json),
    }
}
