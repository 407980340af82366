//! Tokens of a broken form, and keys that share an id.

use super::*;

#[test]
fn bent_tokens_are_refused() {
    let world = World::new();
    let good = world.token(By::A1, &header(json!({})), &claims(json!({})));
    let (input, signature) = good.rsplit_once('.').unwrap();
    let (head, body) = input.split_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let with = |signature: &[u8]| crypto::jws::compact(input, signature);
    let (r, s) = raw.split_at(32);
    let attacks = [
        ("no signature", format!("{input}.")),
        ("two parts", input.to_owned()),
        ("four parts", format!("{good}.AA")),
        ("padding", format!("{good}=")),
        ("a blank", format!("{head}. {body}.{signature}")),
        ("other claims under the signature", {
            let other = URL_SAFE_NO_PAD.encode(claims(json!({"sub": "bob"})));
            format!("{head}.{other}.{signature}")
        }),
        ("a short signature", with(&raw[..63])),
        ("a long signature", with(&[&raw[..], &[0]].concat())),
        ("halves exchanged", with(&[s, r].concat())),
        ("zeros", with(&[0; 64])),
        (
            "JSON serialization",
            json!({"payload": body, "protected": head, "signature": signature}).to_string(),
        ),
        ("17 kB", format!("{input}.{}", "A".repeat(17_000))),
        ("nothing", String::new()),
        ("three empty parts", "..".to_owned()),
    ];
    for (name, token) in attacks {
        assert!(world.verify(&token).is_err(), "{name}");
    }
    assert!(world.verify(&good).is_ok());
}

#[test]
fn of_keys_that_share_a_kid_eight_are_tried_and_the_ninth_is_not() {
    let world = World::new();
    let mut state = Transaction::new(Store::default(), Context::Host, TxId::new(2, 1));
    JWT_ISSUERS
        .put(&mut state, &A.to_owned(), &Json(JwtIssuer::default()))
        .unwrap();
    let row = |spki: &[u8], issuer: &str| JwtKey {
        public_key: spki.to_vec(),
        issuer: issuer.to_owned(),
        constraint: None,
    };
    let token = world.token(By::A1, &header(json!({})), &claims(json!({})));
    for (before, expected) in [(7, Ok(())), (8, Err(TokenError::Signature))] {
        // Neither another issuer's keys nor keys of another type count.
        let mut keys = vec![row(world.b1.spki_der(), B); 20];
        keys.extend(vec![row(world.rsa.spki_der(), A); 20]);
        keys.extend(vec![row(world.stranger.spki_der(), A); before]);
        keys.push(row(world.a1.spki_der(), A));
        JWT_KEYS.put(&mut state, &"k1".to_owned(), &Json(keys)).unwrap();
        let verdict = Tokens::new().verify(&state, &token, NOW);
        assert_eq!(verdict.map(|_| ()), expected, "{before}");
    }
}

#[test]
fn the_reason_told_is_that_of_the_issuer_that_the_token_names() {
    let world = World::new();
    // B's token has run out; A, whose keys of the same id come first, has nothing to say about it.
    let token = world.token(
        By::B1,
        &header(json!({})),
        &claims(json!({"iss": B, "exp": NOW - 600})),
    );
    assert_eq!(world.verify(&token), Err(TokenError::Expired));
}
