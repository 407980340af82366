//! Launch documents: what is launched, by content. Their digest is the host data that members vote.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use evidence::launch::Measured;
use model::evidence::Role;
use serde_json::json;

use crate::answer::{Answer, Failure};
use crate::session::pair;

#[derive(Clone, Copy, ValueEnum)]
enum RoleArgument {
    /// Asks for admission, starts pods
    Launcher,
    /// Carries out one run
    Pod,
}

#[derive(Args)]
pub(crate) struct HostDataArguments {
    /// What the workload may do
    #[arg(long)]
    role: RoleArgument,
    /// The executable
    #[arg(long)]
    program: PathBuf,
    /// A file that the program reads as code, name=path; may be repeated
    #[arg(long, value_parser = pair)]
    file: Vec<(String, String)>,
    /// An argument that is the same in every run; may be repeated
    #[arg(long)]
    arg: Vec<String>,
    /// Lock file that Spark is installed from
    #[arg(long)]
    spark_lock: Option<PathBuf>,
    /// Write the launch document here
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Measures program and files on this machine.
pub(crate) fn host_data(arguments: HostDataArguments) -> Result<Answer, Failure> {
    let role = match arguments.role {
        RoleArgument::Launcher => Role::Launcher,
        RoleArgument::Pod => Role::Pod,
    };
    let mut files = BTreeMap::new();
    for (name, path) in arguments.file {
        if files.insert(name.clone(), PathBuf::from(path)).is_some() {
            return Err(Failure::Usage(format!("file {name} is given twice")));
        }
    }
    let measured = Measured::measure(
        role,
        &arguments.program,
        files,
        arguments.arg,
        arguments.spark_lock,
    )
    .map_err(|e| Failure::Usage(e.to_string()))?;
    let document = measured.document;
    if let Some(path) = arguments.out {
        document.write(&path).map_err(|e| Failure::Usage(e.to_string()))?;
    }
    let digest = document.digest().to_string();
    Ok(Answer::new(
        json!({ "hostData": digest, "document": document }),
        format!("{}\n{digest}", document.canonical_json()),
    ))
}
