//! Each size limit of documents, identifiers and errors: the most is taken, one more is not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::arithmetic_side_effects, reason = "tests")]

use cleanroom_model::actions::{Action, InvalidAction};
use cleanroom_model::analytics::{
    DatasetDocument, FIELD_COUNT_MAX, INPUT_COUNT_MAX, Query, QueryDocument, SEGMENT_COUNT_MAX,
    STATEMENT_SIZE_MAX,
};
use cleanroom_model::claims::{InvalidClaims, parse_claims};
use cleanroom_model::ids::{IDENTIFIER_LEN_MAX, InvalidIdentifier};
use cleanroom_model::policy::PolicyType;
use cleanroom_model::{ContractId, DocumentId};
use model::proposal::RawAction;
use serde_json::{Value, json};

fn segments(count: usize, size: usize) -> Value {
    let segments: Vec<Value> = (0..count)
        .map(|at| json!({"executionSequence": at, "data": format!("SELECT 1{}", " ".repeat(size - 8))}))
        .collect();
    json!({ "segments": segments })
}

fn query(count: usize, size: usize) -> Result<(), String> {
    let query = Query::parse(&segments(count, size).to_string());
    query.map(drop).map_err(|e| e.to_string())
}

fn inputs(count: usize) -> Result<(), String> {
    let inputs: Vec<Value> = (0..count)
        .map(|at| json!({"specification": "d", "view": format!("v{at}")}))
        .collect();
    let query = model::b64::encode(segments(1, 8).to_string().as_bytes());
    let document = json!({"name": "q", "application": {"applicationType": "Spark-SQL",
        "inputDataset": inputs, "outputDataset": {"specification": "sink", "view": "output"},
        "query": query}});
    let document = QueryDocument::parse(&document.to_string());
    document.map(drop).map_err(|e| e.to_string())
}

/// Parses a document of the given size.
type Parse<'a> = &'a dyn Fn(usize) -> Result<(), String>;

fn fields(count: usize) -> Result<(), String> {
    let fields: Vec<Value> = (0..count)
        .map(|at| json!({"fieldName": format!("f{at}"), "fieldType": "string"}))
        .collect();
    let document = json!({"name": "d",
        "datasetSchema": {"format": "csv", "fields": fields},
        "datasetAccessPolicy": {"accessMode": "read", "allowedFields": ["f0"]},
        "datasetAccessPoint": {"name": "d", "type": "Volume_ReadOnly", "path": "", "subdirectory": "/a/",
            "store": {"name": "s", "id": "s", "type": "Local_FileSystem",
                "provider": {"protocol": "Local_FileSystem", "url": "file:///data", "configuration": ""}},
            "protection": {"proxyMode": "Secure",
                "configuration": model::b64::encode(br#"{"KeyType":"DEK","EncryptionMode":"CSE"}"#),
                "encryptionSecrets": {"dek": {"type": "Cgs", "name": "k",
                    "provider": {"protocol": "Cgs_Secret"}}}}}});
    let document = DatasetDocument::parse(&document.to_string());
    document.map(drop).map_err(|e| e.to_string())
}

#[test]
fn documents_are_taken_at_their_most_and_refused_one_beyond() {
    let one_segment = |size: usize| query(1, size);
    let segments = |count: usize| query(count, 8);
    let cases: [(Parse<'_>, usize, &str); 4] = [
        (&segments, SEGMENT_COUNT_MAX, "must be 1 to 64"),
        (&one_segment, STATEMENT_SIZE_MAX, "is longer than 65536"),
        (&inputs, INPUT_COUNT_MAX, "must name 1 to 64 datasets"),
        (&fields, FIELD_COUNT_MAX, "must be 1 to 1024"),
    ];
    for (parse, most, reason) in cases {
        assert_eq!(parse(most), Ok(()));
        let refused = parse(most + 1).unwrap_err();
        assert!(refused.contains(reason), "{refused}");
    }
}

#[test]
fn identifiers_are_taken_at_their_most_and_refused_one_beyond() {
    let (longest, longer) = ("x".repeat(IDENTIFIER_LEN_MAX), "x".repeat(IDENTIFIER_LEN_MAX + 1));
    assert_eq!(longest.parse::<ContractId>().unwrap().as_str(), longest);
    let refused = InvalidIdentifier::Length(IDENTIFIER_LEN_MAX + 1);
    assert_eq!(longer.parse::<ContractId>(), Err(refused));
    assert_eq!(longer.parse::<DocumentId>(), Err(refused));
}

/// What a stranger sent does not come back whole in an error.
#[test]
fn errors_quote_no_more_than_their_most() {
    // Of an action's name and of a claim's value.
    const QUOTED_CHARS_MAX: [usize; 2] = [80, 160];
    let name = |len: usize| {
        let raw = RawAction {
            name: "ä".repeat(len),
            args: json!({}),
        };
        match Action::parse(raw) {
            Err(InvalidAction::Unknown(quoted)) => quoted.chars().count(),
            other => panic!("{other:?}"),
        }
    };
    let value = |len: usize| {
        // Two of the characters are quotation marks.
        let given = json!({"x-ms-sevsnpvm-is-debuggable": "ä".repeat(len - 2)});
        match parse_claims(PolicyType::default(), &serde_json::from_value(given).unwrap()) {
            Err(InvalidClaims::Value { got, .. }) => got.chars().count(),
            other => panic!("{other:?}"),
        }
    };
    for (quoted, most) in [&name as &dyn Fn(usize) -> usize, &value]
        .into_iter()
        .zip(QUOTED_CHARS_MAX)
    {
        assert_eq!(quoted(most), most);
        assert_eq!(quoted(most + 1), most);
    }
}
