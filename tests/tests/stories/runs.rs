//! Runs between people, ledger and launcher: who can make whom do what.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use client::Connection;
use http::HeaderName;
use serde_json::json;
use tests::cleanroom::CleanRoom;
use tests::launcher::{Launch, Launcher};
use tests::outcome::{json, refused};
use tests::passage::Passage;

/// No Spark: these runs need not come to anything.
const NO_SPARK: &str = "/nonexistent";
const RUNS: &str = "/app/contracts/c1/queries/q1/runs";

async fn anybody(room: &CleanRoom, launcher: &Launcher) -> Result<Connection> {
    launcher.connection(room.service.connection()?.service()?).await
}

#[tokio::test]
async fn a_stranger_with_a_thousand_run_ids_makes_the_launcher_ask_once_in_five_seconds() -> Result<()> {
    let room = CleanRoom::open().await?;
    let ledger = Passage::to(room.service.address()?).await?;
    let launcher = room.start_launcher(&ledger.address, Path::new(NO_SPARK)).await?;
    let stranger = anybody(&room, &launcher).await?;
    let (before, written) = (ledger.connections(), room.service.committed().await?.seqno);
    let began = Instant::now();
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..1_000_u32 {
        let stranger = stranger.again();
        asked.spawn(async move {
            let path = format!("/runs/made-up-{number}");
            let answer = stranger.post_empty(&path);
            // One in ten waits for the answer; the others hang up in the middle.
            let patience = if number % 10 == 0 { 60_000 } else { 300 };
            tokio::time::timeout(Duration::from_millis(patience), answer).await
        });
        // As many as are let in at once.
        if asked.len() >= 100 {
            asked.join_next().await;
        }
    }
    let mut answered = 0;
    while let Some(ended) = asked.join_next().await {
        if let Ok(answer) = ended? {
            refused(answer, 404, "RunNotRequested")?;
            answered += 1;
        }
    }
    assert!(answered > 0, "nobody was answered");
    // One connection for each question, with the nonce and the list.
    let questions = ledger.connections() - before;
    let most = began.elapsed().as_secs() / 5 + 1;
    assert!(
        (1..=most).contains(&questions),
        "{questions} questions, {most} at most"
    );
    let written = room.service.committed().await?.seqno - written;
    assert!(
        written <= 2 * questions,
        "{written} entries for {questions} questions"
    );
    Ok(())
}

#[tokio::test]
async fn only_what_was_asked_for_and_not_ended_is_launched_and_nobody_else_learns_why() -> Result<()> {
    let room = CleanRoom::open().await?;
    let launcher = room
        .start_launcher(room.service.address()?, Path::new(NO_SPARK))
        .await?;
    let stranger = anybody(&room, &launcher).await?;
    let run = ["query", "run", "c1", "q1", "--run-id"];
    let query_run = async |who: &str, id: &str| {
        let words: Vec<&str> = run.into_iter().chain([id]).collect();
        room.concordat(who, Some(&launcher.address), &words).await
    };

    // Nobody asked for it.
    refused(stranger.post_empty("/runs/r0").await, 404, "RunNotRequested")?;
    // Asked for by somebody who may not.
    let said = query_run("eve", "r1").await?;
    assert_eq!((said.code, said.error()), (4, Some("NotARunner")), "{said:?}");
    refused(stranger.post_empty("/runs/r1").await, 404, "RunNotRequested")?;
    // Asked for, and ended by the data's owner before any launcher knew.
    let ada = room.user("ada")?;
    json(ada.put(&format!("{RUNS}/r2"), &json!({})).await)?;
    let cancel = ["query", "cancel", "c1", "q1", "r2"];
    let refusal = room.concordat("eve", None, &cancel).await?;
    assert_eq!(refusal.code, 4, "{refusal:?}");
    let said = room.concordat("una", None, &cancel).await?;
    assert_eq!(said.code, 0, "{said:?}");
    let said = query_run("ada", "r2").await?;
    assert_eq!(
        (said.code, said.error()),
        (4, Some("RunNotRequested")),
        "{said:?}"
    );
    let shown = room
        .concordat("una", None, &["query", "request", "c1", "q1", "r2"])
        .await?;
    assert_eq!(shown.tree["state"], "Cancelled", "{shown:?}");

    // Refused: ada is told whose consent is off, by the ledger; strangers learn the code.
    let off = ["document", "disable", "c1", "d1"];
    assert_eq!(room.concordat("una", None, &off).await?.code, 0);
    let said = query_run("ada", "r3").await?;
    let code = "UserDocumentRuntimeOptionDisabled";
    assert_eq!((said.code, said.error()), (4, Some(code)), "{said:?}");
    assert!(said.tree.to_string().contains("una"), "{said:?}");
    for _ in 0..2 {
        let refusal = stranger.post_empty("/runs/r3").await;
        let status = refusal
            .as_ref()
            .err()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(status.contains(code) && !status.contains("una"), "{status}");
    }
    let status = json(stranger.get("/status/r3").await)?;
    let state = &status["status"]["applicationState"];
    assert_eq!(
        (&state["state"], &state["errorCode"]),
        (&json!("FAILED"), &json!(code))
    );
    assert_eq!(status["status"]["executionAttempts"], 0, "there was no pod");
    assert!(!status.to_string().contains("una"), "{status}");
    Ok(())
}

#[tokio::test]
async fn a_launcher_that_nobody_named_or_voted_gets_nothing() -> Result<()> {
    let room = CleanRoom::open().await?;
    // Genuine, and of this ledger; its document was voted, but for pods.
    let vote = |kind: &str, alternative: &str, launch: &Launch| {
        json!({ "name": "set_clean_room_policy", "args": {
            "contractId": "c1", "type": kind, "policyType": "snp-caci", "alternative": alternative,
            "claims": launch.claims(),
        }})
    };
    let mut as_pod = vote("add", "other", &room.launcher);
    as_pod["args"]["role"] = json!("pod");
    let actions = json!([
        vote("remove", "launcher", &room.launcher),
        vote("remove", "token-launcher", &room.token_launcher),
        as_pod,
    ]);
    room.service.carry(&actions).await?;
    let launcher = room
        .start_launcher(room.service.address()?, Path::new(NO_SPARK))
        .await?;
    let heard = Passage::to(&launcher.address).await?;
    let run = ["query", "run", "c1", "q1", "--run-id", "r1"];
    let named = ["--launcher-host-data", &"9".repeat(64)];
    let words: Vec<&str> = run.into_iter().chain(named).collect();
    for words in [&run[..], &words] {
        let said = room.concordat("ada", Some(&heard.address), words).await?;
        assert_eq!(
            (said.code, said.error()),
            (5, Some("VerificationFailed")),
            "{said:?}"
        );
    }
    // Its owner names it: that is the other way.
    let named = ["--launcher-host-data", &room.launcher.host_data];
    let words: Vec<&str> = run.into_iter().chain(named).collect();
    let said = room.concordat("ada", Some(&heard.address), &words).await?;
    assert_ne!(said.code, 5, "{said:?}");
    // Up to then nothing had been asked for on the ledger, either: the id was free.
    assert!(said.tree.to_string().contains("r1"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn user_tokens_are_taken_by_launchers_alone_that_were_measured_so() -> Result<()> {
    const HEADER: HeaderName = HeaderName::from_static("x-ms-cleanroom-authorization");
    const TAKEN: [&str; 1] = ["--accept-user-tokens"];
    let room = CleanRoom::open().await?;
    let ledger = Passage::to(room.service.address()?).await?;
    let (venv, address) = (Path::new(NO_SPARK), ledger.address.as_str());
    let with_token = async |launcher: &Launcher, user: &str| -> Result<Connection> {
        let token = std::fs::read_to_string(room.token_file(user))?;
        let plain = anybody(&room, launcher).await?;
        let certificate = plain.service_cert_pem().to_owned();
        Ok(Connection::pinned(
            &launcher.address,
            &certificate,
            Some((HEADER, token)),
        )?)
    };
    let wanted = json!({ "runId": "r1", "parameters": {} });

    let launcher = room.start_launcher(address, venv).await?;
    let (ada, before) = (with_token(&launcher, "ada").await?, ledger.connections());
    for outcome in [
        ada.post("/queries/q1/run", &wanted).await,
        ada.get("/queries/q1/prerequisites").await,
    ] {
        refused(outcome, 403, "UserTokensNotAccepted")?;
    }
    assert_eq!(ledger.connections(), before, "the token went nowhere");

    // What is measured and what is started are one.
    for (launch, more) in [(&room.launcher, &TAKEN[..]), (&room.token_launcher, &[])] {
        let started = room.start_launcher_as(launch, address, venv, more).await;
        assert!(started.is_err());
    }
    let launcher = room
        .start_launcher_as(&room.token_launcher, address, venv, &TAKEN)
        .await?;
    // The ledger decides by the token, as if its owner had asked there.
    let eve = with_token(&launcher, "eve").await?;
    refused(eve.post("/queries/q1/run", &wanted).await, 403, "NotARunner")?;
    let ada = with_token(&launcher, "ada").await?;
    let answer = json(ada.post("/queries/q1/run", &wanted).await)?;
    assert_eq!(
        (&answer["status"], &answer["id"]),
        (&json!("success"), &json!("r1"))
    );
    let asked = json(room.user("ada")?.get(&format!("{RUNS}/r1")).await)?;
    assert_eq!(
        (&asked["state"], &asked["askedBy"]["approverId"]),
        (&json!("Admitted"), &json!("ada")),
        "{asked}"
    );
    let nobody = anybody(&room, &launcher).await?;
    refused(
        nobody.post("/queries/q1/run", &wanted).await,
        401,
        "InvalidAuthenticationInfo",
    )?;
    Ok(())
}
