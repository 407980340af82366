//! Bindings of both worlds, made from `wit/` while compiling. The interface `kv` is shared.
#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    unsafe_code,
    clippy::all,
    clippy::missing_errors_doc,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]

/// Host-side marker of the resource `kv.reader`; the transaction itself lies in the store.
pub enum Reader {}

/// Host-side marker of the resource `kv.writer`.
pub enum Writer {}

pub mod app {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "concordat:host/app",
        imports: { default: trappable },
        with: {
            "concordat:host/kv.reader": super::Reader,
            "concordat:host/kv.writer": super::Writer,
        },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub mod constitution {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "concordat:host/constitution",
        imports: { default: trappable },
        with: { "concordat:host/kv": super::app::concordat::host::kv },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}
