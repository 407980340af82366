//! A real Spark job through the real door: encrypted CSV in, encrypted result and manifest out.
//!
//! Needs the virtual environment of `spark-launcher/job/requirements.lock`, from
//! `CONCORDAT_SPARK_VENV` or `target/venv-spark` in the workspace.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cleanroom_model::analytics::{DatasetDocument, QueryDocument};
use pod::inputs::Input;
use pod::job::{FailureCode, JobSpec};
use pod::output::{Manifest, ManifestSignature, Provenance, Sink};
use pod::sealed_file::{self, DataKey};
use pod::spark::{JobResult, Spark, SparkError};
use pod::webhdfs::Door;
use serde_json::{Value, json};

const FLIGHTS_KEY: [u8; 32] = [1; 32];
const SINK_KEY: [u8; 32] = [2; 32];
/// Groups smaller than this must not come out.
const K: usize = 20;
const JOB: &str = "run-1";
const PARENT: &str = "contract/2026-11-21";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

#[allow(clippy::disallowed_methods, reason = "the one setting of this test")]
fn venv() -> PathBuf {
    let venv = std::env::var("CONCORDAT_SPARK_VENV")
        .map_or_else(|_| workspace().join("target/venv-spark"), PathBuf::from);
    assert!(
        venv.join("bin/spark-submit").exists(),
        "no Spark in {}: python3 -m venv {0} && {0}/bin/pip install --require-hashes -r \
         spark-launcher/job/requirements.lock, or set CONCORDAT_SPARK_VENV",
        venv.display()
    );
    venv
}

fn dataset(
    dir: &Path,
    fields: &[(&str, &str)],
    mode: &str,
    policy: Value,
    dek: Option<&str>,
) -> DatasetDocument {
    let fields: Vec<Value> = fields
        .iter()
        .map(|(name, kind)| json!({"fieldName": name, "fieldType": kind}))
        .collect();
    let allowed: Vec<&Value> = fields
        .iter()
        .map(|field| &field["fieldName"])
        .filter(|name| *name != "pilot")
        .collect();
    let mut protection = json!({"privacyPolicy": policy});
    if let Some(dek) = dek {
        let configuration = br#"{"KeyType":"DEK","EncryptionMode":"CSE"}"#;
        protection["configuration"] = model::b64::encode(configuration).into();
        protection["encryptionSecrets"] =
            json!({"dek": {"type": "Cgs", "name": dek, "provider": {"protocol": "Cgs_Secret"}}});
    }
    let document = json!({
        "name": "d",
        "datasetSchema": {"format": "csv", "fields": fields},
        "datasetAccessPolicy": {"accessMode": mode, "allowedFields": allowed},
        "datasetAccessPoint": {"name": "d", "type": "Volume", "protection": protection,
            "store": {"type": "Local_FileSystem", "provider": {
                "protocol": "Local_FileSystem", "url": format!("file://{}", dir.display())}}},
    });
    DatasetDocument::parse(&document.to_string()).unwrap()
}

fn query(segments: Value) -> QueryDocument {
    let query = json!({"segments": segments, "parameters": {"late": {"type": "long", "default": 0}}});
    let document = json!({"name": "q", "application": {
        "applicationType": "Spark-SQL",
        "inputDataset": [{"specification": "d1", "view": "flights"}, {"specification": "d2", "view": "planes"}],
        "outputDataset": {"specification": "d3", "view": "output"},
        "query": model::b64::encode(query.to_string().as_bytes())}});
    QueryDocument::parse(&document.to_string()).unwrap()
}

/// One run's world: data on disk, the documents, a key for the input and one for the sink.
struct World {
    dir: tempfile::TempDir,
    flights: DatasetDocument,
    planes: DatasetDocument,
    sink: DatasetDocument,
    rows: Vec<(usize, Option<i64>, usize)>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let (flights_dir, planes_dir) = (path("flights"), path("planes"));
        // Tail number, delay with gaps, maker of the plane: sizes of groups differ by maker.
        let rows: Vec<(usize, Option<i64>, usize)> = (0..40_000_usize)
            .map(|i| {
                (
                    i % 97,
                    (i % 11 != 0).then(|| i64::try_from(i % 50).unwrap() - 10),
                    maker(i % 97),
                )
            })
            .collect();
        let csv: String = rows
            .iter()
            .map(|(tail, delay, _)| {
                format!(
                    "N{tail},{},\"Quote \"\"{tail}\"\", comma\"\n",
                    delay.map_or(String::new(), |d| d.to_string())
                )
            })
            .collect();
        let mut sealed = Vec::new();
        let key = DataKey::from_bytes(&FLIGHTS_KEY).unwrap();
        sealed_file::seal(&key, 64 * 1024, &mut csv.as_bytes(), &mut sealed).unwrap();
        std::fs::write(flights_dir.join("flights.csv"), sealed).unwrap();
        let planes: String = (0..97)
            .map(|tail| format!("N{tail},M{}\n", maker(tail)))
            .collect();
        std::fs::write(planes_dir.join("planes.csv"), planes).unwrap();

        Self {
            flights: dataset(
                &flights_dir,
                &[
                    ("tailnum", "string"),
                    ("dep_delay", "integer"),
                    ("pilot", "string"),
                ],
                "read",
                json!({"minInputRows": 100, "minGroupSize": 10}),
                Some("flights-dek"),
            ),
            planes: dataset(
                &planes_dir,
                &[("tailnum", "string"), ("manufacturer", "string")],
                "read",
                Value::Null,
                None,
            ),
            sink: dataset(
                &dir.path().join("sink"),
                &[
                    ("manufacturer", "string"),
                    ("mean_delay", "number"),
                    ("planes", "long"),
                ],
                "write",
                Value::Null,
                Some("sink-dek"),
            ),
            dir,
            rows,
        }
    }

    async fn run(
        &self,
        query: &QueryDocument,
        consent: Arc<AtomicBool>,
    ) -> Result<(JobResult, Manifest), SparkError> {
        let key = DataKey::from_bytes(&FLIGHTS_KEY).unwrap();
        let views: Vec<_> = query.inputs.iter().map(|input| input.view.clone()).collect();
        let checked = sql_gate::check(&query.query, &views).unwrap();
        let inputs = vec![
            Input::open(views[0].clone(), &self.flights, Some(&key), None)
                .await
                .unwrap(),
            Input::open(views[1].clone(), &self.planes, None, None)
                .await
                .unwrap(),
        ];
        let sink_key = DataKey::from_bytes(&SINK_KEY).unwrap();
        let sink = Arc::new(Sink::open(&self.sink, Some(sink_key), PARENT, JOB).await.unwrap());
        let gate = Box::new(move |_| {
            let consent = consent.load(Ordering::SeqCst);
            let answer: std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>> =
                Box::pin(async move {
                    if consent {
                        Ok(())
                    } else {
                        Err("withdrawn".to_owned())
                    }
                });
            answer
        });
        let door = Door::open(inputs, Arc::clone(&sink), JOB, gate).await.unwrap();
        let documents = [self.flights.clone(), self.planes.clone()];
        let spec = JobSpec::new(
            JOB,
            query,
            &checked,
            &documents,
            &self.sink,
            &BTreeMap::new(),
            &door,
        )
        .unwrap();
        let spark = Spark {
            venv: venv(),
            program: workspace().join("spark-launcher/job"),
            work_root: self.dir.path().to_owned(),
            java_home: None,
            thread_count: 2,
            driver_memory_mib: 1024,
            timeout: Duration::from_secs(300),
            diagnostics: true,
        };
        match spark.run(&spec, door.capability(), |_| {}).await {
            Ok(result) => {
                assert!(door.bytes_read()["flights"] > 500_000);
                let provenance = Provenance {
                    job_id: JOB.into(),
                    query_digest: model::Digest::ZERO,
                    dataset_digests: BTreeMap::new(),
                };
                let manifest = sink.publish(provenance, result.rows_written, sign).await.unwrap();
                Ok((result, manifest))
            }
            Err(error) => {
                sink.discard().await.unwrap();
                Err(error)
            }
        }
    }

    fn output(&self) -> PathBuf {
        self.dir.path().join("sink").join(PARENT)
    }

    /// The result by an independent route: manufacturer, mean delay, number of planes.
    fn expected(&self) -> Vec<(String, f64, usize)> {
        let mut groups: BTreeMap<usize, (i64, i64, BTreeSet<usize>)> = BTreeMap::new();
        for (tail, delay, maker) in &self.rows {
            let Some(delay) = delay.filter(|delay| *delay >= 0) else {
                continue;
            };
            let (sum, count, tails) = groups.entry(*maker).or_default();
            *sum += delay;
            *count += 1;
            tails.insert(*tail);
        }
        groups
            .into_iter()
            .filter(|(_, (_, _, tails))| tails.len() >= K)
            .map(|(maker, (sum, count, tails))| (format!("M{maker}"), sum as f64 / count as f64, tails.len()))
            .collect()
    }
}

fn maker(tail: usize) -> usize {
    match tail {
        0..40 => 1,
        40..60 => 2,
        60..79 => 3,
        _ => tail,
    }
}

fn sign(bytes: &[u8]) -> Result<ManifestSignature, String> {
    Ok(ManifestSignature {
        algorithm: "test".into(),
        public_key: String::new(),
        signature: bytes[..8].to_vec(),
    })
}

fn segments() -> Value {
    json!([
        {"executionSequence": 1, "data": "CREATE OR REPLACE TEMPORARY VIEW joined AS SELECT p.manufacturer, \
            f.dep_delay, f.tailnum FROM flights f JOIN planes p ON f.tailnum = p.tailnum WHERE f.dep_delay >= :late"},
        {"executionSequence": 2, "data": "SELECT manufacturer, AVG(dep_delay) AS mean_delay, \
            COUNT(DISTINCT tailnum) AS planes FROM joined GROUP BY manufacturer",
         "preConditions": [{"viewName": "joined", "minRowCount": 1000}],
         "postFilters": [{"columnName": "planes", "value": K}]}
    ])
}

#[tokio::test]
async fn an_encrypted_dataset_is_joined_by_spark_and_only_groups_above_k_come_out_encrypted() {
    let world = World::new();
    let outcome = world
        .run(&query(segments()), Arc::new(AtomicBool::new(true)))
        .await;
    let (result, manifest) = outcome.unwrap_or_else(|error| panic!("{error:#?}"));
    let expected = world.expected();
    assert_eq!(expected.len(), 2, "the data must have groups on both sides of k");
    assert_eq!(
        result,
        JobResult {
            rows_read: 40_097,
            rows_written: 2
        }
    );

    let run = world.output().join(JOB);
    assert_eq!(manifest.rows, 2);
    assert_eq!(
        std::fs::read(run.join("manifest.json")).unwrap(),
        manifest.to_bytes()
    );
    let mut lines = Vec::new();
    for file in &manifest.files {
        let stored = std::fs::read(run.join(&file.path)).unwrap();
        assert_eq!(crypto::sha256(&stored), file.sha256);
        let mut plain = Vec::new();
        let key = DataKey::from_bytes(&SINK_KEY).unwrap();
        sealed_file::open(&key, stored.len() as u64, &mut stored.as_slice(), &mut plain).unwrap();
        let text = String::from_utf8(plain).unwrap();
        assert!(text.starts_with("manufacturer,mean_delay,planes\n"), "{text}");
        lines.extend(text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>());
    }
    lines.sort();
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, (maker, mean, planes)) in lines.iter().zip(&expected) {
        let parts: Vec<&str> = line.split(',').collect();
        assert_eq!(
            (parts[0], parts[2].parse::<usize>().unwrap()),
            (maker.as_str(), *planes)
        );
        assert!(
            (parts[1].parse::<f64>().unwrap() - mean).abs() < 1e-9,
            "{line} {mean}"
        );
    }
    // Nothing else was left anywhere: no temporary output, no working directory of Spark.
    assert_eq!(names(&world.output()), [JOB]);
    assert_eq!(names(world.dir.path()), ["flights", "planes", "sink"]);
}

#[tokio::test]
async fn a_run_whose_consent_is_withdrawn_gets_no_data_and_leaves_no_output() {
    let world = World::new();
    let error = world
        .run(&query(segments()), Arc::new(AtomicBool::new(false)))
        .await
        .unwrap_err();
    assert_eq!(error.code(), FailureCode::DatasetUnreachable, "{error:#?}");
    assert!(names(&world.output()).is_empty());
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
