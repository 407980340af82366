//! Guests that misbehave: each hits its limit or its trap, and nothing of it remains.
//!
//! The guests are core modules made here, wrapped with the world's types like any other guest.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::sync::Arc;

use host::guest_imports::ServiceSettings;
use host::guests::{LoadError, WasmGuests};
use host_core::{AppRequest, Caller, Component, GuestFailure, Guests as _, Transaction};
use kv::store::Store;
use kv::{Context, Read as _, TxId};
use wasm_encoder::Instruction::{self, Br, Call, End, GlobalGet, GlobalSet, I32Add, I32Const, Unreachable};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, ImportSection, MemArg, MemArgTarget, MemorySection, MemoryType, Module,
    TypeSection, ValType,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

/// A guest by the bodies of its two functions. Its list of endpoints is empty, its allocator
/// never takes anything back, and it may write.
struct Guest<'a> {
    query: &'a [Instruction<'a>],
    update: &'a [Instruction<'a>],
    memory_pages: u64,
}

/// Index of the imported `writer.put`.
const PUT: u32 = 0;
/// Index of the global that says where free memory begins.
const NEXT: u32 = 1;
/// Index of a function that calls itself.
const DEEP: u32 = 5;
/// Indices of the imports that give handles back.
const DROP_READER: u32 = 1;
const DROP_WRITER: u32 = 2;
/// Where a response is put together; at 16 there is an empty list.
const RESPONSE: i32 = 64;

fn function(body: &[Instruction<'_>]) -> Function {
    let mut function = Function::new([]);
    for instruction in body {
        function.instruction(instruction);
    }
    function.instruction(&End);
    function
}

const fn at(offset: u64) -> MemArg {
    MemArg {
        offset,
        align: 0,
        target: MemArgTarget::Memory(0),
        ordering: None,
    }
}

impl Guest<'_> {
    fn component(&self) -> Vec<u8> {
        let i32s = |count| vec![ValType::I32; count];
        let mut types = TypeSection::new();
        types.ty().function(i32s(8), []);
        types.ty().function(i32s(4), i32s(1));
        types.ty().function([], i32s(1));
        types.ty().function(i32s(1), i32s(1));
        types.ty().function(i32s(1), []);
        let mut imports = ImportSection::new();
        let kv = "concordat:host/kv@0.1.0";
        imports.import(kv, "[method]writer.put", EntityType::Function(0));
        imports.import(kv, "[resource-drop]reader", EntityType::Function(4));
        imports.import(kv, "[resource-drop]writer", EntityType::Function(4));
        let mut functions = FunctionSection::new();
        for index in [1, 2, 2, 3, 3] {
            functions.function(index);
        }
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: self.memory_pages,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let mut globals = GlobalSection::new();
        let counter = GlobalType {
            val_type: ValType::I32,
            mutable: true,
            shared: false,
        };
        globals.global(counter, &ConstExpr::i32_const(200));
        globals.global(counter, &ConstExpr::i32_const(65536));
        let mut exports = ExportSection::new();
        exports.export("memory", ExportKind::Memory, 0);
        exports.export("cabi_realloc", ExportKind::Func, 3);
        for (name, index) in [("endpoints", 4), ("query", 6), ("update", 7)] {
            let name = format!("concordat:host/application@0.1.0#{name}");
            exports.export(&name, ExportKind::Func, index);
        }
        let mut code = CodeSection::new();
        // The next multiple of eight after what was given out before.
        code.function(&function(&[
            GlobalGet(NEXT),
            GlobalGet(NEXT),
            Instruction::LocalGet(3),
            I32Add,
            I32Const(7),
            I32Add,
            I32Const(-8),
            Instruction::I32And,
            GlobalSet(NEXT),
        ]));
        code.function(&function(&[I32Const(16)]));
        code.function(&function(&[Call(DEEP), I32Const(1), I32Add]));
        code.function(&function(self.query));
        code.function(&function(self.update));
        let mut module = Module::new();
        module
            .section(&types)
            .section(&imports)
            .section(&functions)
            .section(&memories)
            .section(&globals)
            .section(&exports)
            .section(&code);
        encode(module.finish())
    }
}

fn encode(mut module: Vec<u8>) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve
        .push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit"))
        .unwrap();
    let world = resolve.select_world(&[package], Some("app")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .validate(true)
        .encode()
        .unwrap()
}

fn application(query: &[Instruction<'_>], update: &[Instruction<'_>]) -> Component {
    let guest = Guest {
        query,
        update,
        memory_pages: 2,
    };
    component(guest.component())
}

/// Answers 200.
const ANSWER: [Instruction<'_>; 4] = [
    I32Const(RESPONSE),
    I32Const(200),
    Instruction::I32Store16(at(0)),
    I32Const(RESPONSE),
];

/// `put("t", "t", "t")`, with the instructions that find the writer's handle.
fn put<'a>(handle: &[Instruction<'a>]) -> Vec<Instruction<'a>> {
    let text = [I32Const(128), I32Const(1)];
    let mut code = vec![
        I32Const(128),
        I32Const(i32::from(b't')),
        Instruction::I32Store8(at(0)),
    ];
    code.extend_from_slice(handle);
    for _ in 0..3 {
        code.extend_from_slice(&text);
    }
    code.extend([I32Const(256), Call(PUT)]);
    code
}

/// Gives the reader back, which a call must do before it ends.
const RETURN_READER: [Instruction<'_>; 3] = [
    Instruction::LocalGet(0),
    Instruction::I32Load(at(0)),
    Call(DROP_READER),
];

/// An update's arguments lie in memory: first the reader's handle, then the writer's.
const GIVEN_WRITER: [Instruction<'_>; 2] = [Instruction::LocalGet(0), Instruction::I32Load(at(4))];

fn guests() -> WasmGuests {
    WasmGuests::new(ServiceSettings {
        trust: attestation::Trust::production(),
        insecure_virtual: false,
    })
    .unwrap()
}

fn component(bytes: Vec<u8>) -> Component {
    Component {
        digest: crypto::sha256(&bytes),
        bytes: Arc::from(bytes),
    }
}

fn request() -> AppRequest {
    AppRequest {
        endpoint: 0,
        parameters: vec![("contractId".to_owned(), "c1".to_owned())],
        method: "POST".to_owned(),
        target: "/app/x".to_owned(),
        query: String::new(),
        content_type: None,
        caller: Caller::Anonymous,
        body: b"{}".to_vec(),
        received_at_ms: 0,
        transaction: TxId::new(2, 2),
        committed: TxId::new(2, 1),
    }
}

fn transaction(context: Context) -> Transaction {
    Transaction::new(Store::default(), context, TxId::new(2, 2))
}

fn query(body: &[Instruction<'_>]) -> Result<host_core::AppResponse, GuestFailure> {
    let application = application(body, &[Unreachable]);
    guests().query(&application, transaction(Context::Query), &request())
}

#[test]
fn a_guest_that_loops_runs_out_of_fuel() {
    // Constants that are dropped cost fuel and no time: however slow the machine, fuel ends this
    // long before the clock does.
    let mut body = vec![Instruction::Loop(BlockType::Empty)];
    for _ in 0..10_000 {
        body.extend([I32Const(0), Instruction::Drop]);
    }
    body.extend([Br(0), End, Unreachable]);
    assert_eq!(query(&body).unwrap_err(), GuestFailure::Limit("fuel".to_owned()));
}

#[test]
fn a_guest_that_allocates_without_end_runs_out_of_memory() {
    let failure = query(&[
        Instruction::Loop(BlockType::Empty),
        I32Const(16),
        Instruction::MemoryGrow(0),
        Instruction::Drop,
        Br(0),
        End,
        Unreachable,
    ])
    .unwrap_err();
    assert_eq!(failure, GuestFailure::Limit("memory".to_owned()));
}

#[test]
fn a_trap_and_an_overflowing_stack_are_traps() {
    for body in [Unreachable, Call(DEEP)] {
        let failure = query(std::slice::from_ref(&body)).unwrap_err();
        assert!(matches!(failure, GuestFailure::Trap(_)), "{body:?}: {failure}");
    }
}

#[test]
fn a_guest_keeps_nothing_between_calls() {
    // Answers with the number of its calls as status, counted in a global.
    let mut count = RETURN_READER.to_vec();
    count.extend([
        GlobalGet(0),
        I32Const(1),
        I32Add,
        GlobalSet(0),
        I32Const(RESPONSE),
        GlobalGet(0),
        Instruction::I32Store16(at(0)),
        I32Const(RESPONSE),
    ]);
    let guests = guests();
    let application = application(&count, &[Unreachable]);
    for _ in 0..3 {
        let response = guests
            .query(&application, transaction(Context::Query), &request())
            .unwrap();
        assert_eq!(response.status, 201);
    }
}

#[test]
fn a_write_comes_back_with_the_transaction() {
    let mut body = put(&GIVEN_WRITER);
    body.extend(RETURN_READER);
    body.extend(GIVEN_WRITER);
    body.push(Call(DROP_WRITER));
    body.extend(ANSWER);
    let (tx, response) = guests()
        .update(
            &application(&[Unreachable], &body),
            transaction(Context::Update),
            &request(),
        )
        .unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(
        tx.get("t", b"t").unwrap().map(|row| row.value),
        Some(b"t".to_vec())
    );
}

#[test]
fn a_trap_after_a_write_hands_nothing_back() {
    let mut body = put(&GIVEN_WRITER);
    body.push(Unreachable);
    let application = application(&[Unreachable], &body);
    let result = guests().update(&application, transaction(Context::Update), &request());
    assert!(matches!(result, Err(GuestFailure::Trap(_))));
}

#[test]
fn a_query_cannot_make_up_a_writer() {
    let guests = guests();
    for handle in 0..8 {
        let mut forge = put(&[I32Const(handle)]);
        forge.extend(RETURN_READER);
        forge.extend(ANSWER);
        let failure = guests
            .query(
                &application(&forge, &[Unreachable]),
                transaction(Context::Query),
                &request(),
            )
            .unwrap_err();
        assert!(
            matches!(failure, GuestFailure::Trap(_)),
            "handle {handle}: {failure}"
        );
    }
}

/// A component that imports an empty interface of this name.
fn asking_for(import: &str) -> Vec<u8> {
    use wasm_encoder::{
        Component, ComponentImportSection, ComponentTypeRef, ComponentTypeSection, InstanceType,
    };
    let mut types = ComponentTypeSection::new();
    types.instance(&InstanceType::new());
    let mut imports = ComponentImportSection::new();
    imports.import(import, ComponentTypeRef::Instance(0));
    let mut component = Component::new();
    component.section(&types).section(&imports);
    component.finish()
}

#[test]
fn a_component_that_asks_for_more_than_its_world_is_refused_by_name() {
    let guests = guests();
    for import in ["wasi:cli/environment@0.2.0", "concordat:host/credentials@0.1.0"] {
        assert_eq!(
            guests.inspect_application(&asking_for(import)).unwrap_err(),
            LoadError::ForeignImport(import.to_owned())
        );
    }
    let import = "concordat:host/crypto@0.1.0";
    assert_eq!(
        guests.inspect_constitution(&asking_for(import)).unwrap_err(),
        LoadError::ForeignImport(import.to_owned())
    );
}

#[test]
fn what_is_not_a_component_of_the_world_is_refused() {
    let guests = guests();
    let refused = |bytes: &[u8]| guests.inspect_application(bytes).unwrap_err();
    assert!(matches!(refused(b"no wasm"), LoadError::Invalid(_)));
    assert!(matches!(refused(&Module::new().finish()), LoadError::Invalid(_)));
    let empty = wasm_encoder::Component::new().finish();
    assert!(matches!(refused(&empty), LoadError::Mismatch(_)));
    assert!(matches!(
        refused(&vec![0; 5 * 1024 * 1024]),
        LoadError::TooLarge(_)
    ));
    let greedy = Guest {
        query: &[Unreachable],
        update: &[Unreachable],
        memory_pages: 2000,
    };
    assert!(matches!(refused(&greedy.component()), LoadError::Invalid(_)));
}

/// Hands a mebibyte to the host and again, as long as it may: few instructions, much work for the host.
fn hoarder() -> Component {
    let mut update = vec![
        Instruction::Loop(BlockType::Empty),
        // What the host answered is of no use.
        I32Const(65536),
        GlobalSet(NEXT),
    ];
    update.extend(GIVEN_WRITER);
    for argument in [128, 1, 128, 1, 0, 1024 * 1024, 256] {
        update.push(I32Const(argument));
    }
    update.extend([Call(PUT), Br(0), End, Unreachable]);
    let guest = Guest {
        query: &[Unreachable],
        update: &update,
        memory_pages: 32,
    };
    component(guest.component())
}

#[test]
fn a_guest_that_lets_the_host_work_pays_for_it_in_fuel_and_not_in_the_writers_time() {
    let failed = guests().update(&hoarder(), transaction(Context::Update), &request());
    assert_eq!(failed.err(), Some(GuestFailure::Limit("fuel".to_owned())));
}
