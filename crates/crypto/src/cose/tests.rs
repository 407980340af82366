//! Tests of reading and writing COSE_Sign1.

use super::*;
use crate::Portable;

const PROTECTED: &[u8] = &[0xa1, 0x01, 0x26];

fn message() -> Vec<u8> {
    assemble(PROTECTED, &[(396, Value::from(7))], Some(b"payload"), &[1; 64])
}

#[test]
fn what_assemble_writes_is_read_back() {
    let sign1 = Sign1::parse(&message()).unwrap();
    assert_eq!(sign1.protected(), PROTECTED);
    assert_eq!(sign1.alg(), Some(-7));
    assert_eq!(sign1.kid(), None);
    assert_eq!(sign1.payload(), Some(&b"payload"[..]));
    assert_eq!(sign1.signature(), [1; 64]);
    assert_eq!(sign1.unprotected(), Ok(vec![(Value::from(396), Value::from(7))]));
    let detached = Sign1::parse(&assemble(PROTECTED, &[], None, &[])).unwrap();
    assert_eq!(detached.payload(), None);
}

#[test]
fn headers_keep_the_order_of_the_writer() {
    let header = ProtectedHeader::new()
        .int(4, b"ab".to_vec())
        .int(1, -7)
        .text("b", 1)
        .text("a", 2);
    assert_eq!(
        hex::encode(header.encode()),
        "a404426162012661620161 6102".replace(' ', "")
    );
}

#[test]
fn every_truncation_and_every_extension_is_refused() {
    let good = message();
    for length in 0..good.len() {
        assert!(Sign1::parse(&good[..length]).is_err(), "{length}");
    }
    assert!(Sign1::parse(&[&good[..], &[0]].concat()).is_err());
}

#[test]
fn hostile_shapes_are_refused_before_they_cost_anything() {
    let shapes = [
        ("no tag", message()[1..].to_vec()),
        ("other tag", [&[0xd1], &message()[1..]].concat()),
        (
            "huge byte string",
            vec![0xd2, 0x84, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        (
            "huge map",
            vec![
                0xd2, 0x84, 0x40, 0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ],
        ),
        (
            "indefinite byte string",
            vec![0xd2, 0x84, 0x5f, 0x41, 0, 0xff, 0xa0, 0x40, 0x40],
        ),
        (
            "huge list in a header",
            assemble(&[&[0xa1, 0x04, 0x9b], &[0x7f; 8][..]].concat(), &[], None, &[]),
        ),
        (
            "huge text in a header",
            assemble(&[&[0xa1, 0x04, 0x7b], &[0x7f; 8][..]].concat(), &[], None, &[]),
        ),
        ("deep header", assemble(&[0x81; 1000], &[], None, &[])),
        ("header is a list", assemble(&[0x80], &[], None, &[])),
        ("label is a list", assemble(&[0xa1, 0x80, 0x00], &[], None, &[])),
        ("bytes after the header", assemble(&[0xa0, 0x00], &[], None, &[])),
        (
            "long header",
            assemble(&vec![0; HEADER_SIZE_MAX + 1], &[], None, &[]),
        ),
    ];
    for (name, bytes) in shapes {
        assert!(Sign1::parse(&bytes).is_err(), "{name}");
    }
}

#[test]
fn a_label_that_occurs_twice_is_refused() {
    let twice = ProtectedHeader::new()
        .text("ccf.gov.msg.type", "a")
        .text("ccf.gov.msg.type", "b")
        .encode();
    assert_eq!(
        Sign1::parse(&assemble(&twice, &[], None, &[])),
        Err(CoseError::DuplicateLabel)
    );
    // The same label in a longer encoding is the same label.
    let long = [0xa2, 0x01, 0x26, 0x18, 0x01, 0x26];
    assert_eq!(
        Sign1::parse(&assemble(&long, &[], None, &[])),
        Err(CoseError::DuplicateLabel)
    );
}

fn with_crit(crit: Value) -> Sign1 {
    let header = ProtectedHeader::new()
        .int(1, -7)
        .int(label::CRIT, crit)
        .int(395, 2)
        .text("known", "x")
        .text("strange", "y");
    Sign1::parse(&assemble(&header.encode(), &[], Some(b""), &[])).unwrap()
}

fn critical(message: &Sign1) -> Option<String> {
    let known = [Label::Text("known"), Label::Text("absent"), Label::Int(395)];
    match message.verify(&[], None, &known, &Portable) {
        Err(CoseError::Critical(reason)) => Some(reason),
        Err(CoseError::Signature(_)) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_called_critical_must_be_known_and_there() {
    let list = |labels: &[Value]| Value::Array(labels.to_vec());
    for good in [
        list(&["known".into()]),
        list(&[395.into(), "known".into()]),
        list(&[1.into()]),
    ] {
        assert_eq!(critical(&with_crit(good.clone())), None, "{good:?}");
    }
    for (bad, reason) in [
        (list(&[]), "not a list"),
        (Value::from("known"), "not a list"),
        (Value::Null, "not a list"),
        (list(&[list(&["known".into()])]), "not a list"),
        (list(&["known".into(), Value::Bool(true)]), "not a list"),
        (list(&["absent".into()]), "absent"),
        (list(&["strange".into()]), "\"strange\" is not understood"),
        (list(&["known".into(), "strange".into()]), "not understood"),
        (list(&[4.into()]), "4 is called critical and absent"),
        (list(&["1".into()]), "absent"),
        (list(&[Value::from(u64::MAX)]), "absent"),
    ] {
        let told = critical(&with_crit(bad.clone())).unwrap_or_default();
        assert!(told.contains(reason), "{bad:?}: {told}");
    }
}

#[test]
fn crit_outside_the_signature_protects_nothing_and_is_refused() {
    let crit = (label::CRIT, Value::Array(vec![1.into()]));
    let message = Sign1::parse(&assemble(PROTECTED, &[crit], Some(b""), &[])).unwrap();
    let told = critical(&message).unwrap_or_default();
    assert!(told.contains("outside"), "{told}");
}

#[test]
fn ambiguous_payloads_are_refused() {
    let attached = Sign1::parse(&message()).unwrap();
    assert_eq!(
        attached.verify(&[], Some(b"payload"), &[], &Portable),
        Err(CoseError::Payload)
    );
    let detached = Sign1::parse(&assemble(PROTECTED, &[], None, &[])).unwrap();
    assert_eq!(
        detached.verify(&[], None, &[], &Portable),
        Err(CoseError::Payload)
    );
}
