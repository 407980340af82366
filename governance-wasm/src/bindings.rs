//! Generated from `wit/` while building.

#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::missing_errors_doc,
    reason = "generated"
)]

wit_bindgen::generate!({
    path: "../wit",
    world: "app",
});

#[cfg(target_arch = "wasm32")]
use super::Component;

// The exports' names contain `:` and `#`, which a native linker refuses.
#[cfg(target_arch = "wasm32")]
export!(Component with_types_in self);
