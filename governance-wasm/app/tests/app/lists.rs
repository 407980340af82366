//! Lists in pages: a thousand rows fit into one, one more makes two, and what is long is never read.

use cleanroom_model::tables::{DELEGATES, RUN_DELEGATES, SECRETS, USER_DOCUMENTS};
use governance_app::Caller;
use governance_app::lists::LIST_ROWS_MAX;
use kv::{Json, Pair};
use serde_json::{Value as JsonValue, json};

use crate::world::{ISSUER, World, member, user};

/// All pages of a list: how many rows each shows.
fn pages(world: &mut World, caller: &Caller, path: &str) -> (Vec<usize>, Vec<JsonValue>) {
    let (mut sizes, mut shown) = (Vec::new(), Vec::new());
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let page = world.get(caller, &path).ok();
        let value = page["value"].as_array().unwrap();
        sizes.push(value.len());
        shown.extend(value.iter().cloned());
        next = page["nextLink"]
            .as_str()
            .map(|link| link.strip_prefix("/app").unwrap().to_owned());
        assert!(sizes.len() < 10, "{path} goes on for ever");
    }
    (sizes, shown)
}

/// Pages at the most that one holds, and at one row more; nothing twice, nothing left out.
fn at_the_limit(
    world: &mut World,
    caller: &Caller,
    path: &str,
    already: usize,
    mut add: impl FnMut(&mut World, usize),
) {
    for number in already..LIST_ROWS_MAX {
        add(world, number);
    }
    assert_eq!(pages(world, caller, path).0, [LIST_ROWS_MAX], "{path}");
    add(world, LIST_ROWS_MAX);
    let (sizes, shown) = pages(world, caller, path);
    assert_eq!(sizes, [LIST_ROWS_MAX, 1], "{path}");
    let distinct: std::collections::BTreeSet<String> = shown.iter().map(JsonValue::to_string).collect();
    assert_eq!(distinct.len(), LIST_ROWS_MAX + 1, "{path}");
}

fn world() -> World {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    world
}

#[test]
fn a_thousand_contracts_are_one_page_and_one_more_makes_two() {
    assert_eq!(LIST_ROWS_MAX, 1000);
    let mut world = World::new();
    let draft = |world: &mut World, number: usize| {
        let path = format!("/contracts/c{number}");
        world.put(&member("ann"), &path, json!({"data": 1})).ok();
    };
    at_the_limit(&mut world, &member("ann"), "/contracts", 0, draft);
    world.accept_contract("c500-a", json!(1));
    let ann = member("ann");
    let (sizes, shown) = pages(&mut world, &ann, "/contracts?state=Accepted");
    assert_eq!(
        (sizes.len(), shown.len()),
        (2, 1),
        "selected of the rows that a page looks at"
    );
    assert_eq!(
        pages(&mut world, &ann, "/contracts?state=Draft").1.len(),
        LIST_ROWS_MAX + 1
    );
}

#[test]
fn accepted_contracts_beside_drafts_are_neither_shown_twice_nor_left_out() {
    let mut world = World::new();
    for number in 0..700 {
        world.accept_contract(&format!("a{number}"), json!(1));
        let path = format!("/contracts/b{number}");
        world.put(&member("ann"), &path, json!({"data": 1})).ok();
    }
    let (sizes, shown) = pages(&mut world, &member("ann"), "/contracts");
    assert_eq!((sizes, shown.len()), (vec![1000, 400], 1400));
}

#[test]
fn a_thousand_documents_are_one_page_with_and_without_a_selector() {
    let mut world = world();
    let put = |world: &mut World, number: usize| {
        let path = format!("/contracts/c1/userdocuments/d{number}");
        let body = json!({"data": 1, "labels": {"n": number.to_string(), "all": "1"}});
        world.put(&user("una"), &path, body).ok();
    };
    let path = "/contracts/c1/userdocuments";
    at_the_limit(&mut world, &user("una"), path, 0, put);
    let selected = "/contracts/c1/userdocuments?labelSelector=all:1";
    assert_eq!(pages(&mut world, &user("una"), selected).0, [LIST_ROWS_MAX, 1]);
    let one = "/contracts/c1/userdocuments?labelSelector=n:7";
    assert_eq!(pages(&mut world, &user("una"), one).1.len(), 1);
}

#[test]
fn a_thousand_secrets_are_one_page_for_their_owner_and_for_members() {
    let mut world = world();
    world.set_identity("una", Some(ISSUER), ISSUER);
    let put = |world: &mut World, number: usize| {
        let path = format!("/contracts/c1/secrets/s{number}");
        world.put(&user("una"), &path, json!({"value": "v"})).ok();
    };
    at_the_limit(&mut world, &user("una"), "/contracts/c1/secrets", 0, put);
    assert_eq!(
        pages(&mut world, &member("ann"), "/contracts/c1/secrets").0,
        [LIST_ROWS_MAX, 1]
    );
}

#[test]
fn a_thousand_identities_are_one_page() {
    let mut world = World::new();
    let already = pages(&mut world, &member("ann"), "/users/identities").1.len();
    let add =
        |world: &mut World, number: usize| world.set_identity(&format!("u{number}"), Some(ISSUER), ISSUER);
    at_the_limit(&mut world, &member("ann"), "/users/identities", already, add);
}

#[test]
fn delegates_of_many_runs_are_one_line_each_and_pages_go_on_among_those_of_runs() {
    let mut world = world();
    let path = "/contracts/c1/cleanroompolicy/delegates";
    let id = |text: String| text.parse().unwrap();
    let delegate: cleanroom_model::tables::Delegate = serde_json::from_value(json!({"claims": {}})).unwrap();
    let add = |world: &mut World, number: usize| {
        world.govern(|w| {
            for run in ["", "r1", "r2"] {
                let who = Pair(
                    id(format!("d{number}")),
                    Pair(id("virtual".into()), run.to_owned()),
                );
                let key = Pair("c1".parse().unwrap(), Pair(id("secrets".into()), who));
                DELEGATES.put(w, &key, &Json(delegate.clone())).unwrap();
            }
        });
    };
    at_the_limit(&mut world, &member("ann"), path, 0, add);
    let of_run: cleanroom_model::tables::RunDelegate = serde_json::from_value(
        json!({"policyType": "virtual", "alternative": "default", "hostData": ["aa"]}),
    )
    .unwrap();
    for number in 0..LIST_ROWS_MAX {
        world.govern(|w| {
            let run = format!("run{number}").parse().unwrap();
            let key = Pair(
                "c1".parse().unwrap(),
                Pair(run, Pair(id("secrets".into()), id("k".into()))),
            );
            RUN_DELEGATES.put(w, &key, &Json(of_run.clone())).unwrap();
        });
    }
    let (sizes, shown) = pages(&mut world, &member("ann"), path);
    assert_eq!((sizes, shown.len()), (vec![1000, 1000, 1], 2001));
}

#[test]
fn lists_show_documents_and_secrets_without_reading_what_they_hold() {
    let mut world = world();
    let labels = json!({"data": 1, "labels": {"type": "dataset"}});
    world
        .put(&user("una"), "/contracts/c1/userdocuments/d", labels)
        .ok();
    world
        .put(&user("una"), "/contracts/c1/secrets/s", json!({"value": "v"}))
        .ok();
    // A row that no reader could decode is no matter to a list.
    let key: cleanroom_model::tables::DocumentKey = Pair("c1".parse().unwrap(), "d".parse().unwrap());
    world.govern(|w| {
        w.put(USER_DOCUMENTS.name(), &kv::codec::Key::to_bytes(&key), b"{")
            .unwrap();
        w.put(SECRETS.name(), b"c1/una_s", b"{").unwrap();
    });
    for (caller, path, expected) in [
        (
            user("una"),
            "/contracts/c1/userdocuments",
            json!([{"id": "d", "labels": {"type": "dataset"}}]),
        ),
        (
            user("una"),
            "/contracts/c1/userdocuments?labelSelector=type:dataset",
            json!([{"id": "d", "labels": {"type": "dataset"}}]),
        ),
        (
            user("una"),
            "/contracts/c1/secrets",
            json!([{"secretId": "una_s"}]),
        ),
        (
            member("ann"),
            "/contracts/c1/secrets",
            json!([{"secretId": "una_s"}]),
        ),
    ] {
        assert_eq!(
            world.get(&caller, path).ok(),
            json!({"value": expected}),
            "{path}"
        );
    }
}

#[test]
fn labels_that_are_taken_back_select_nothing_any_more() {
    let mut world = world();
    let path = "/contracts/c1/userdocuments/d";
    let first = world.put(&user("una"), path, json!({"data": 1, "labels": {"x": "1"}}));
    let version = first.tx.to_string();
    world
        .put(&user("una"), path, json!({"data": 2, "version": version}))
        .ok();
    let listed = world
        .get(&user("una"), "/contracts/c1/userdocuments?labelSelector=x:1")
        .ok();
    assert_eq!(listed, json!({"value": []}));
    let listed = world.get(&user("una"), "/contracts/c1/userdocuments").ok();
    assert_eq!(listed, json!({"value": [{"id": "d"}]}));
}

#[test]
fn labels_have_so_many_bytes_and_not_one_more() {
    const LABEL_BYTES_MAX: usize = 4096;
    let mut world = world();
    let mut put = |size: usize| {
        let body = json!({"data": 1, "labels": {"x": "y".repeat(size - 1)}});
        world.put(
            &user("una"),
            &format!("/contracts/c1/userdocuments/d{size}"),
            body,
        )
    };
    put(LABEL_BYTES_MAX).ok();
    put(LABEL_BYTES_MAX + 1).is(400, "InvalidInput");
}
