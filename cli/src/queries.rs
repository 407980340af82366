//! Queries: what stands in the way, run, status. Asked of a launcher whose certificate is believed
//! because of its evidence.

use clap::{Args, Subcommand};
use cleanroom_model::{ContractId, DocumentId, RunId};
use client::discovery::{Expected, Trust, discover, launchers_in_force};
use client::{Connection, Reply};
use http::{HeaderName, Method};
use model::Digest;
use serde_json::{Value as JsonValue, json};

use crate::answer::{Answer, Failure};
use crate::session::Session;

/// The header that carries the user's token to the launcher.
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-ms-cleanroom-authorization");

/// Which launcher, and why it is believed.
#[derive(Args)]
pub(crate) struct Launcher {
    /// Address of the launcher, https://host:port
    #[arg(long)]
    launcher: String,
    /// Digest of the launcher's launch document, as voted; may be repeated. Absent: those that the
    /// contract's policy has in force for launchers
    #[arg(long, required_unless_present = "contract")]
    launcher_host_data: Vec<Digest>,
    /// Contract whose policy says which launchers there are
    #[arg(long)]
    contract: Option<ContractId>,
    /// Trust evidence of a software attester with this root; development only
    #[arg(long)]
    attester_root: Vec<Digest>,
    /// Launch measurement, 96 hexadecimal digits, that counts without UVM endorsements; may be
    /// repeated
    #[arg(long, value_parser = measurement)]
    measurement: Vec<String>,
}

/// 48 bytes in hexadecimal, as claims hold them.
fn measurement(text: &str) -> Result<String, &'static str> {
    if text.len() == 96 && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("must be 96 hexadecimal digits")
    }
}

#[derive(Subcommand)]
pub(crate) enum QueryCommand {
    /// Run a query; asking again with the same run id starts nothing
    Run {
        /// The query document
        query: DocumentId,
        #[command(flatten)]
        launcher: Launcher,
        /// Name of the run; made up if absent
        #[arg(long)]
        run_id: Option<RunId>,
        /// First day to read, YYYY-MM-DD
        #[arg(long, requires = "end_date")]
        start_date: Option<String>,
        /// Last day to read
        #[arg(long, requires = "start_date")]
        end_date: Option<String>,
        /// Only say whether the run would be admitted
        #[arg(long)]
        dry_run: bool,
    },
    /// Where a job stands
    Status {
        /// The job
        job: RunId,
        #[command(flatten)]
        launcher: Launcher,
    },
    /// What a run would need, and what is missing
    Prerequisites {
        /// The query document
        query: DocumentId,
        #[command(flatten)]
        launcher: Launcher,
    },
    /// Runs of a query so far
    Runs {
        /// The query document
        query: DocumentId,
        #[command(flatten)]
        launcher: Launcher,
    },
}

pub(crate) async fn run(command: QueryCommand, session: &Session) -> Result<Answer, Failure> {
    let reply = match command {
        QueryCommand::Run {
            query,
            launcher,
            run_id,
            start_date,
            end_date,
            dry_run,
        } => {
            let wanted = json!({
                "runId": run_id, "startDate": start_date, "endDate": end_date, "dryRun": dry_run,
            });
            connect(&launcher, session)
                .await?
                .post(&format!("/queries/{query}/run"), &wanted)
                .await?
        }
        QueryCommand::Status { job, launcher } => get(&launcher, session, &format!("/status/{job}")).await?,
        QueryCommand::Prerequisites { query, launcher } => {
            get(&launcher, session, &format!("/queries/{query}/prerequisites")).await?
        }
        QueryCommand::Runs { query, launcher } => {
            get(&launcher, session, &format!("/queries/{query}/runs")).await?
        }
    };
    let answer: JsonValue = reply.json()?;
    Ok(Answer::tree(answer))
}

async fn get(launcher: &Launcher, session: &Session, path: &str) -> Result<Reply, Failure> {
    let connection = connect(launcher, session).await?;
    Ok(connection
        .send(Method::GET, path, None, Vec::new().into())
        .await?)
}

/// Verifies the launcher's evidence, then talks to that launcher and no other.
async fn connect(launcher: &Launcher, session: &Session) -> Result<Connection, Failure> {
    let ledger = session.connection()?;
    let host_data = match (launcher.launcher_host_data.as_slice(), &launcher.contract) {
        ([], Some(contract)) => launchers_in_force(&ledger, contract).await?,
        (named, _) => named.to_vec(),
    };
    let expected = Expected {
        service: ledger.service()?,
        host_data,
        measurements: launcher.measurement.clone(),
        trust: Trust {
            extra_arks: launcher.attester_root.clone(),
            allow_virtual: false,
        },
    };
    let token = session.token()?;
    let certificate = discover(&launcher.launcher, &expected).await?;
    Ok(Connection::pinned(
        &launcher.launcher,
        &certificate,
        Some((TOKEN_HEADER, token.as_str().to_owned())),
    )?)
}
