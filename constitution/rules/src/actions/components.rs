//! Replacing the application and these rules (decision 31).
//!
//! A component's bytes lie in `modules` under their digest and stay there as long as the
//! constitution row or a route names them.

use std::collections::BTreeSet;

use cleanroom_model::actions::{COMPONENT_SIZE_MAX, SetConstitution, SetWasmApp};
use kv::{Json, Raw, Read, Singleton, TableError, Write};
use model::Digest;
use model::service::EndpointRow;
use model::tables;
use serde_json::Value as JsonValue;

use crate::credentials::{Credentials, Route};
use crate::fault::{Fault, require};

fn check_component(bytes: &[u8], given: &Digest, found: Result<Digest, String>) -> Result<(), Fault> {
    let found = found.map_err(|e| Fault::refused(format!("the component cannot be installed: {e}")))?;
    require(found == *given, || {
        format!("the component's digest is {found}, not {given}")
    })?;
    require(bytes.len() <= COMPONENT_SIZE_MAX, || size_fault(bytes))
}

fn size_fault(bytes: &[u8]) -> String {
    let size = bytes.len();
    format!("the component has {size} bytes, at most {COMPONENT_SIZE_MAX} are allowed")
}

/// The component must be one, and the one that was meant.
pub(crate) fn check_constitution(
    credentials: &impl Credentials,
    args: &SetConstitution,
) -> Result<(), Fault> {
    // Before the compiler sees it.
    require(args.constitution.len() <= COMPONENT_SIZE_MAX, || {
        size_fault(&args.constitution)
    })?;
    let found = credentials.inspect_constitution(&args.constitution);
    check_component(&args.constitution, &args.digest, found)
}

fn inspect(credentials: &impl Credentials, args: &SetWasmApp) -> Result<Vec<(String, EndpointRow)>, Fault> {
    require(args.component.len() <= COMPONENT_SIZE_MAX, || {
        size_fault(&args.component)
    })?;
    let (found, routes) = match credentials.inspect_application(&args.component) {
        Ok((found, routes)) => (Ok(found), routes),
        Err(e) => (Err(e), Vec::new()),
    };
    check_component(&args.component, &args.digest, found)?;
    require(!routes.is_empty(), || "the application offers no routes".into())?;
    routes.iter().map(|route| endpoint(route, &args.digest)).collect()
}

/// Key and row of a route.
fn endpoint(route: &Route, component: &Digest) -> Result<(String, EndpointRow), Fault> {
    let malformed = |e: serde_json::Error| {
        Fault::refused(format!(
            "route {} {} is described badly: {e}",
            route.method, route.path
        ))
    };
    let mut row: JsonValue = serde_json::from_str(&route.row_json).map_err(malformed)?;
    if let Some(fields) = row.as_object_mut() {
        fields.insert("component".into(), JsonValue::String(component.to_string()));
    }
    let row = serde_json::from_value(row).map_err(malformed)?;
    Ok((format!("{} {}", route.method, route.path), row))
}

/// As [`check_constitution`], and its routes must be readable.
pub(crate) fn check_application(credentials: &impl Credentials, args: &SetWasmApp) -> Result<(), Fault> {
    inspect(credentials, args).map(|_| ())
}

/// Hex digests of the components in use.
fn in_use(state: &impl Read) -> Result<BTreeSet<String>, TableError> {
    let mut digests = BTreeSet::new();
    if let Some(row) = tables::CONSTITUTION.get(state, &Singleton)? {
        let hex = row.0.strip_prefix("sha256:").unwrap_or(&row.0).to_owned();
        digests.insert(hex);
    }
    for row in tables::ENDPOINTS.rows(state)? {
        digests.insert(row.value.0.component);
    }
    Ok(digests)
}

/// Drops the bytes of components that were in use before and are not any more.
fn drop_unused<S: Read + Write>(state: &mut S, before: &BTreeSet<String>) -> Result<(), Fault> {
    let after = in_use(state)?;
    for digest in before.difference(&after) {
        tables::MODULES.remove(state, digest)?;
    }
    Ok(())
}

/// Installs new rules. They decide from the next call on; the host drops every other open
/// proposal, whose voters had the old rules before them.
pub(crate) fn set_constitution<S: Read + Write>(state: &mut S, args: &SetConstitution) -> Result<(), Fault> {
    let before = in_use(state)?;
    let reference = tables::constitution_reference(&args.digest);
    tables::CONSTITUTION.put(state, &Singleton, &Json(reference))?;
    tables::MODULES.put(state, &args.digest.to_string(), &Raw(args.constitution.clone()))?;
    drop_unused(state, &before)
}

/// Installs an application: its routes replace the ones there were.
pub(crate) fn set_application<S: Read + Write>(
    state: &mut S,
    credentials: &impl Credentials,
    args: &SetWasmApp,
) -> Result<(), Fault> {
    let routes = inspect(credentials, args)?;
    let before = in_use(state)?;
    for row in tables::ENDPOINTS.rows(state)? {
        tables::ENDPOINTS.remove(state, &row.key)?;
    }
    for (key, row) in routes {
        tables::ENDPOINTS.put(state, &key, &Json(row))?;
    }
    tables::MODULES.put(state, &args.digest.to_string(), &Raw(args.component.clone()))?;
    drop_unused(state, &before)
}
