//! A clean room that is ready for runs: una's dataset `d1`, ada's query `q1` into her sink `o1`, all of
//! it agreed to; eve is registered and party to nothing. The one member, ann, approves the dataset, too.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result};
use client::Connection;
use crypto::jws;
use crypto::native::{RsaBits, RsaKeyPair};
use model::b64;
use model::evidence::Role;
use serde_json::{Value as JsonValue, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::built::program;
use crate::launcher::{Launch, Launcher, Start, measurement};
use crate::pods::Chip;
use crate::service::Service;

const ISSUER: &str = "https://issuer.example";
const DOCUMENTS: &str = "/app/contracts/c1/userdocuments";
/// Rows of the dataset: a number that stands for nothing else.
pub const ROWS: usize = 4711;

/// The room.
pub struct CleanRoom {
    /// Its ledger.
    pub service: Service,
    /// Whose evidence counts.
    pub chip: Chip,
    /// The voted launcher.
    pub launcher: Launch,
    /// The same, with the argument that lets it take tokens; voted, too.
    pub token_launcher: Launch,
    /// The voted pod.
    pub pod: Launch,
    issuer: RsaKeyPair,
    dir: TempDir,
}

impl CleanRoom {
    /// Sets everything up.
    ///
    /// # Errors
    ///
    /// If a step is refused.
    pub async fn open() -> Result<Self> {
        let chip = Chip::new()?;
        let service = Service::open(&["ann"], std::slice::from_ref(&chip.root)).await?;
        let dir = tempfile::tempdir()?;
        let measure = |role, name, arguments: &[&str]| Launch::measure(dir.path(), role, name, arguments);
        let launcher = "concordat-launcher";
        let room = Self {
            launcher: measure(Role::Launcher, launcher, &["serve"])?,
            token_launcher: measure(Role::Launcher, launcher, &["serve", "--accept-user-tokens"])?,
            pod: measure(Role::Pod, "concordat-pod", &["run"])?,
            service,
            chip,
            issuer: RsaKeyPair::generate(RsaBits::B2048)?,
            dir,
        };
        room.register().await?;
        room.service.accept_contract("c1").await?;
        room.vote_policy().await?;
        room.publish().await?;
        Ok(room)
    }

    async fn register(&self) -> Result<()> {
        let key = jws::signing_jwk(self.issuer.spki_der(), "k1", "RS256")?;
        let mut actions = vec![json!({ "name": "set_jwt_issuer", "args": {
            "issuer": ISSUER, "audience": "concordat", "jwks": jws::jwks(&[key]),
        }})];
        for user in ["una", "ada", "eve"] {
            actions.push(json!({ "name": "set_user_identity", "args": {
                "id": user, "accountType": "oidc", "data": { "issuer": ISSUER, "identifier": user },
            }}));
            std::fs::write(self.token_file(user), self.token(user, &json!({}))?)?;
        }
        self.service.carry(&JsonValue::Array(actions)).await?;
        Ok(())
    }

    async fn vote_policy(&self) -> Result<()> {
        for (name, role, launch) in [
            ("launcher", "launcher", &self.launcher),
            ("token-launcher", "launcher", &self.token_launcher),
            ("pod", "pod", &self.pod),
        ] {
            let claims = launch.claims();
            let args = json!({
                "policyType": "snp-caci", "alternative": name, "role": role, "claims": claims,
            });
            self.service.accept_policy("c1", &args).await?;
        }
        Ok(())
    }

    async fn publish(&self) -> Result<()> {
        let store = self.folder("d1")?;
        let rows: String = (0..ROWS).map(|row| format!("g{}\n", row % 3)).collect();
        std::fs::write(store.join("rows.csv"), rows)?;
        let fields = json!([{ "fieldName": "g", "fieldType": "string" }]);
        let dataset = document("d1", "read", &fields, &["g"], &store);
        let approvers = [
            user("una"),
            json!({ "approverId": self.service.member(0)?.id()?, "approverIdType": "member" }),
        ];
        let version = self.put("una", "d1", &dataset, "dataset", &approvers).await?;
        ballot(&self.user("una")?, "d1", &version).await?;
        ballot(
            &self.service.connection_of(self.service.member(0)?)?,
            "d1",
            &version,
        )
        .await?;

        let fields = json!([
            { "fieldName": "g", "fieldType": "string" }, { "fieldName": "n", "fieldType": "long" },
        ]);
        let sink = document("o1", "write", &fields, &["g", "n"], &self.folder("o1")?);
        let version = self.put("ada", "o1", &sink, "dataset", &[user("ada")]).await?;
        ballot(&self.user("ada")?, "o1", &version).await?;

        let segments = json!({ "segments": [{
            "executionSequence": 1, "data": "SELECT g, COUNT(*) AS n FROM t GROUP BY g",
        }]});
        let query = json!({ "name": "q1", "application": {
            "applicationType": "Spark-SQL",
            "inputDataset": [{ "specification": "d1", "view": "t" }],
            "outputDataset": { "specification": "o1", "view": "output" },
            "query": b64::encode(segments.to_string().as_bytes()),
        }});
        let approvers = [user("una"), user("ada")];
        let version = self
            .put("ada", "q1", &query, "spark-application", &approvers)
            .await?;
        for who in ["una", "ada"] {
            ballot(&self.user(who)?, "q1", &version).await?;
        }
        Ok(())
    }

    async fn put(
        &self,
        owner: &str,
        id: &str,
        data: &JsonValue,
        kind: &str,
        approvers: &[JsonValue],
    ) -> Result<String> {
        let body = json!({
            "contractId": "c1", "data": data.to_string(), "labels": { "type": kind }, "approvers": approvers,
        });
        let reply = self.user(owner)?.put(&format!("{DOCUMENTS}/{id}"), &body).await?;
        Ok(reply.tx_id.context("a write has a transaction")?.to_string())
    }

    /// A folder of the store.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.dir.path().join("store").join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// A token of this user, with further claims.
    ///
    /// # Errors
    ///
    /// If the issuer cannot sign.
    pub fn token(&self, user: &str, more: &JsonValue) -> Result<String> {
        let now = client::governance::unix_now_s();
        let mut claims = json!({
            "iss": ISSUER, "aud": "concordat", "sub": user, "iat": now, "nbf": now, "exp": now + 3600,
        });
        if let (Some(claims), Some(more)) = (claims.as_object_mut(), more.as_object()) {
            claims.extend(more.clone());
        }
        let input = jws::signing_input(&json!({ "alg": "RS256", "kid": "k1", "typ": "JWT" }), &claims);
        Ok(jws::compact(
            &input,
            &self.issuer.sign_pkcs1_sha256(input.as_bytes())?,
        ))
    }

    /// File with the user's token.
    #[must_use]
    pub fn token_file(&self, user: &str) -> PathBuf {
        self.dir.path().join(format!("{user}.token"))
    }

    /// A connection of this user to the ledger.
    ///
    /// # Errors
    ///
    /// If the node does not run.
    pub fn user(&self, user: &str) -> Result<Connection> {
        let token = std::fs::read_to_string(self.token_file(user))?;
        let (address, cert) = (self.service.address()?, self.service.service_cert()?);
        Ok(Connection::with_bearer(address, &cert, None, Some(token))?)
    }

    /// Starts the voted launcher, whose way to the ledger is `ledger`.
    ///
    /// # Errors
    ///
    /// If it does not serve.
    pub async fn start_launcher(&self, ledger: &str, spark_venv: &Path) -> Result<Launcher> {
        self.start_launcher_as(&self.launcher, ledger, spark_venv, &[])
            .await
    }

    /// As [`Self::start_launcher`], with another launch document and further arguments.
    ///
    /// # Errors
    ///
    /// If it does not serve.
    pub async fn start_launcher_as(
        &self,
        launch: &Launch,
        ledger: &str,
        spark_venv: &Path,
        more: &[&str],
    ) -> Result<Launcher> {
        Launcher::start(&Start {
            dir: &self.launcher_dir(launch, more),
            chip: &self.chip,
            ledger,
            service_cert: &self.service.layout.service_cert(),
            launch,
            pod: &self.pod,
            spark_venv,
            more,
        })
        .await
    }

    fn launcher_dir(&self, launch: &Launch, more: &[&str]) -> PathBuf {
        self.dir
            .path()
            .join(format!("{}{}", launch.host_data, more.join("")))
    }

    /// Folder with the records of the voted launcher.
    #[must_use]
    pub fn job_records(&self) -> PathBuf {
        self.launcher_dir(&self.launcher, &[]).join("work/jobs")
    }

    /// The command line, as this user; with `launcher`, whose evidence is believed by its root.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub async fn concordat(&self, user: &str, launcher: Option<&str>, arguments: &[&str]) -> Result<Said> {
        let mut command = Command::new(program("concordat")?);
        command.arg("--json").args(arguments);
        if let Some(address) = launcher {
            command.args(["--launcher", address, "--measurement", &measurement()]);
            command.args(["--attester-root", &self.chip.root]);
        }
        let output = command
            .env("CONCORDAT_ADDRESS", self.service.address()?)
            .env("CONCORDAT_SERVICE_CERT", self.service.layout.service_cert())
            .env("CONCORDAT_TOKEN_FILE", self.token_file(user))
            .env(
                "CONCORDAT_CONFIG_DIR",
                self.dir.path().join(format!("{user}.config")),
            )
            .stdin(Stdio::null())
            .output()
            .await?;
        Said::of(&output)
    }
}

/// What the command line said.
#[derive(Debug)]
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// What it printed.
    pub tree: JsonValue,
}

impl Said {
    fn of(output: &Output) -> Result<Self> {
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Self {
            code: output.status.code().with_context(said)?,
            tree: serde_json::from_slice(&output.stdout).with_context(said)?,
        })
    }

    /// The error code in it, if it is a refusal.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.tree.pointer("/error/code")?.as_str()
    }
}

fn user(id: &str) -> JsonValue {
    json!({ "approverId": id, "approverIdType": "user" })
}

async fn ballot(voter: &Connection, id: &str, version: &str) -> Result<()> {
    let body = json!({ "version": version, "ballot": "accepted" });
    voter.post(&format!("{DOCUMENTS}/{id}/ballot"), &body).await?;
    Ok(())
}

fn document(name: &str, mode: &str, fields: &JsonValue, allowed: &[&str], store: &Path) -> JsonValue {
    json!({
        "name": name,
        "datasetSchema": { "format": "csv", "fields": fields },
        "datasetAccessPolicy": { "accessMode": mode, "allowedFields": allowed },
        "datasetAccessPoint": {
            "name": name, "type": "Volume", "protection": {},
            "store": { "type": "Local_FileSystem", "provider": {
                "protocol": "Local_FileSystem", "url": format!("file://{}", store.display()) } },
        },
    })
}
