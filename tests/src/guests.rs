//! Components made by hand, to be voted in: applications that loop or allocate without end, and
//! a constitution under which every proposal carries itself.

use anyhow::Result;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::built;

/// Memory, an allocator, and the functions that give borrowed handles back.
const COMMON: &str = r#"
  (import "concordat:host/kv@0.1.0" "[resource-drop]reader" (func $drop-reader (param i32)))
  (import "concordat:host/kv@0.1.0" "[resource-drop]writer" (func $drop-writer (param i32)))
  (memory (export "memory") 16)
  (global $free (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
"#;

/// Answers 200 with an empty body: a response at 1024, its lists and options empty.
const ANSWER: &str = "(i32.store16 (i32.const 1024) (i32.const 200)) (i32.const 1024)";

/// Never ends.
const LOOP: &str = "(loop $again (br $again)) (unreachable)";

/// Takes memory until it gets no more, and then tries again.
const GROW: &str = "(loop $again (drop (memory.grow (i32.const 16))) (br $again)) (unreachable)";

/// An application with `GET /app/hello` (200), `GET /app/loop`, `GET /app/grow`,
/// `POST /app/loop` and `POST /app/grow`, open to anybody.
///
/// # Errors
///
/// If the text is not a component, which would be a mistake here.
pub fn hostile_application() -> Result<Vec<u8>> {
    let endpoints = [
        ("GET", "/hello", 0),
        ("GET", "/loop", 0),
        ("GET", "/grow", 0),
        ("POST", "/loop", 1),
        ("POST", "/grow", 1),
    ];
    let (data, list) = endpoint_list(&endpoints);
    // The request lies in memory behind the handles, and begins with the endpoint's index.
    let text = format!(
        r#"(module {COMMON} {data}
  (func (export "concordat:host/application@0.1.0#endpoints") (result i32) (i32.const {list}))
  (func (export "concordat:host/application@0.1.0#query") (param $arguments i32) (result i32)
    (if (i32.eq (i32.load offset=8 (local.get $arguments)) (i32.const 1)) (then {LOOP}))
    (if (i32.eq (i32.load offset=8 (local.get $arguments)) (i32.const 2)) (then {GROW}))
    (call $drop-reader (i32.load (local.get $arguments)))
    {ANSWER})
  (func (export "concordat:host/application@0.1.0#update") (param $arguments i32) (result i32)
    (if (i32.eq (i32.load offset=8 (local.get $arguments)) (i32.const 3)) (then {LOOP}))
    {GROW}))"#
    );
    component(&text, "app")
}

/// What [`greedy_application`] asks of the host, again and again: the endpoint's path, and the call in WebAssembly text.
/// `$r` and `$w` are the handles. Texts lie where [`greedy_application`] puts them.
const GREEDY: &[(&str, &str)] = &[
    ("/instructions", ""),
    (
        "/get",
        "(call $get (local.get $r) (i32.const 512) (i32.const 8) (i32.const 2097152) (i32.const 32) (i32.const 1024))",
    ),
    (
        "/scan",
        "(call $scan (local.get $r) (i32.const 528) (i32.const 24) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) \
         (i32.const 0) (i32.const 1000) (i32.const 1024))",
    ),
    (
        "/put-small",
        "(call $put (local.get $w) (i32.const 512) (i32.const 8) (i32.const 2097152) (i32.const 32) (i32.const 2097152) \
         (i32.const 64) (i32.const 1024))",
    ),
    (
        "/put-large",
        "(call $put (local.get $w) (i32.const 512) (i32.const 8) (i32.const 2097152) (i32.const 4) (i32.const 2097152) \
         (i32.const 1048576) (i32.const 1024))",
    ),
    (
        "/digest-small",
        "(call $sha256 (i32.const 2097152) (i32.const 32) (i32.const 1024))",
    ),
    (
        "/digest-large",
        "(call $sha256 (i32.const 2097152) (i32.const 1048576) (i32.const 1024))",
    ),
    ("/random", "(call $random (i32.const 64) (i32.const 1024))"),
    (
        "/verify",
        "(call $verify (i32.const 3) (i32.const 20480) (i32.const EC) (i32.const 2097152) (i32.const 64) \
         (i32.const 28672) (i32.const 96) (i32.const 1024))",
    ),
    (
        "/read-key",
        "(call $bits (i32.const 24576) (i32.const RSA) (i32.const 1024))",
    ),
    (
        "/wrap-small",
        "(call $wrap (i32.const 24576) (i32.const RSA) (i32.const 2097152) (i32.const 32) (i32.const 1024))",
    ),
    (
        "/wrap-large",
        "(call $wrap (i32.const 24576) (i32.const RSA) (i32.const 2097152) (i32.const 1048576) (i32.const 1024))",
    ),
    (
        "/make-ec",
        "(call $generate (local.get $w) (i32.const 512) (i32.const 8) (i32.const 2) (i32.const 1024))",
    ),
    (
        "/make-rsa",
        "(call $generate (local.get $w) (i32.const 512) (i32.const 8) (i32.const 0) (i32.const 1024))",
    ),
    (
        "/sign",
        "(if (i32.eqz (local.get $made)) (then (call $generate (local.get $w) (i32.const 512) (i32.const 8) (i32.const 0) \
         (i32.const 1024)))) (local.set $made (i32.const 1)) \
         (call $sign (local.get $r) (i32.const 512) (i32.const 8) (i32.const 1) (i32.const 2097152) (i32.const 64) \
         (i32.const 1024))",
    ),
];

/// Paths of [`greedy_application`], below `/app`.
pub fn greedy_paths() -> impl Iterator<Item = &'static str> {
    GREEDY.iter().map(|(path, _)| *path)
}

/// An application that does nothing but call the host, one kind of call at each endpoint, until it may not any
/// more. The input of each call is another, so that nothing is remembered from the call before. `ec_pem` is a
/// key on P-384, `rsa_pem` one of RSA.
///
/// # Errors
///
/// As [`hostile_application`].
pub fn greedy_application(ec_pem: &str, rsa_pem: &str) -> Result<Vec<u8>> {
    let endpoints: Vec<(&str, &str, u8)> = GREEDY.iter().map(|(path, _)| ("POST", *path, 1)).collect();
    let (data, list) = endpoint_list(&endpoints);
    let bodies: String = (0..)
        .zip(GREEDY)
        .map(|(index, (_, call))| {
            let call = call
                .replace("const EC)", &format!("const {})", ec_pem.len()))
                .replace("const RSA)", &format!("const {})", rsa_pem.len()));
            format!(
                "(if (i32.eq (local.get $endpoint) (i32.const {index})) (then (loop $again \
                 (global.set $free (i32.const 4194304)) \
                 (i32.store (i32.const 2097152) (i32.add (i32.load (i32.const 2097152)) (i32.const 1))) \
                 {call} (br $again))))\n"
            )
        })
        .collect();
    let text = |text: &str| text.replace('\n', "\\n");
    let kv = "concordat:host/kv@0.1.0";
    let crypto = "concordat:host/crypto@0.1.0";
    let common = COMMON.replace(
        "(memory (export \"memory\") 16)",
        "(memory (export \"memory\") 256)",
    );
    let module = format!(
        r#"(module
  (import "{kv}" "[method]reader.get" (func $get (param i32 i32 i32 i32 i32 i32)))
  (import "{kv}" "[method]reader.scan" (func $scan (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "{kv}" "[method]writer.put" (func $put (param i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "{crypto}" "sha256" (func $sha256 (param i32 i32 i32)))
  (import "{crypto}" "random" (func $random (param i32 i32)))
  (import "{crypto}" "verify" (func $verify (param i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "{crypto}" "rsa-bits" (func $bits (param i32 i32 i32)))
  (import "{crypto}" "wrap" (func $wrap (param i32 i32 i32 i32 i32)))
  (import "{crypto}" "generate" (func $generate (param i32 i32 i32 i32 i32)))
  (import "{crypto}" "sign" (func $sign (param i32 i32 i32 i32 i32 i32 i32)))
  {common} {data}
  (data (i32.const 512) "public:k")
  (data (i32.const 528) "public:ccf.gov.endpoints")
  (data (i32.const 20480) "{ec}")
  (data (i32.const 24576) "{rsa}")
  (data (i32.const 28672) "{signature}")
  (func (export "concordat:host/application@0.1.0#endpoints") (result i32) (i32.const {list}))
  (func (export "concordat:host/application@0.1.0#query") (param i32) (result i32) (unreachable))
  (func (export "concordat:host/application@0.1.0#update") (param $arguments i32) (result i32)
    (local $r i32) (local $w i32) (local $endpoint i32) (local $made i32)
    (local.set $r (i32.load (local.get $arguments)))
    (local.set $w (i32.load offset=4 (local.get $arguments)))
    (local.set $endpoint (i32.load offset=8 (local.get $arguments)))
    {bodies}
    (unreachable)))"#,
        // In the range of both numbers, so that it is wrong only at the end of the arithmetic.
        signature = "\\01".repeat(96),
        ec = text(ec_pem),
        rsa = text(rsa_pem),
    );
    component(&module, "app")
}

/// A constitution that finds every proposal valid, accepts it as soon as it is made, and changes
/// nothing.
///
/// # Errors
///
/// As [`hostile_application`].
pub fn carefree_constitution() -> Result<Vec<u8>> {
    let text = format!(
        r#"(module {COMMON}
  (func (export "concordat:host/governance@0.1.0#validate") (param i32 i32 i32) (result i32)
    (call $drop-reader (local.get 0)) (i32.const 1024))
  (func (export "concordat:host/governance@0.1.0#resolve")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $drop-reader (local.get 0)) (i32.const 1))
  (func (export "concordat:host/governance@0.1.0#apply")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $drop-reader (local.get 0)) (call $drop-writer (local.get 1)) (i32.const 1024)))"#
    );
    component(&text, "constitution")
}

/// The list of endpoints as it lies in memory, and where: each has method, path, mode, the list
/// of callers (here `no_auth` alone), whether it is prepared, and no limit of its own for bodies.
fn endpoint_list(endpoints: &[(&str, &str, u8)]) -> (String, u32) {
    const RECORDS: usize = 4096;
    const RECORD_SIZE: usize = 40;
    const TEXTS: usize = 8192;
    let mut texts = b"no_auth".to_vec();
    let word = |bytes: &mut Vec<u8>, value: usize| {
        bytes.extend(u32::try_from(value).unwrap_or_default().to_le_bytes());
    };
    // The callers' list: one string at the beginning of the texts.
    let mut callers = Vec::new();
    word(&mut callers, TEXTS);
    word(&mut callers, texts.len());
    let mut records = Vec::new();
    for (method, path, mode) in endpoints {
        for text in [method, path] {
            word(&mut records, TEXTS + texts.len());
            word(&mut records, text.len());
            texts.extend(text.bytes());
        }
        records.extend([*mode, 0, 0, 0]);
        word(&mut records, RECORDS - callers.len());
        for value in [1, 0, 0, 0] {
            word(&mut records, value);
        }
    }
    let mut list = Vec::new();
    word(&mut list, RECORDS);
    word(&mut list, records.len() / RECORD_SIZE);
    let list_at = RECORDS - callers.len() - list.len();
    let segment = |at: usize, bytes: &[u8]| {
        let bytes: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        format!("(data (i32.const {at}) \"{bytes}\")\n")
    };
    let head = [list, callers, records].concat();
    let data = segment(list_at, &head) + &segment(TEXTS, &texts);
    (data, u32::try_from(list_at).unwrap_or_default())
}

fn component(text: &str, world: &str) -> Result<Vec<u8>> {
    let mut module = wat::parse_str(text)?;
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(built::source("wit"))?;
    let world = resolve.select_world(&[package], Some(world))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    ComponentEncoder::default()
        .module(&module)?
        .validate(true)
        .encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_by_hand_are_components() {
        for component in [hostile_application().unwrap(), carefree_constitution().unwrap()] {
            assert!(component.starts_with(b"\0asm"));
        }
    }
}
