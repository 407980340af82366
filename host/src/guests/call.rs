//! One call of a component: a fresh store with its limits, and what came of it.

use std::sync::Arc;

use host_core::{GuestFailure, Transaction};
use kv::{Context, Singleton};
use model::Digest;
use model::tables::SERVICE_TIME_RESET;
use wasmtime::component::Resource;
use wasmtime::{Engine, Store, Trap};

use super::LoadError;
use super::bindings::{Reader, Writer};
use super::engine::{FUEL_PER_CALL, Limiter, TICKS_PER_CALL, TICKS_PER_DECISION};
use crate::guest_imports::Services;

/// Why the call is made: for its effects, or to have dear results ready for the call that follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pass {
    /// Its writes count if the transaction commits.
    Real,
    /// A discarded run on a snapshot (decision 26).
    Prepare,
}

/// How a failure names fuel.
pub(super) const FUEL: &str = "fuel";

/// What a guest's imports work on. It lives for one call.
pub(crate) struct CallState {
    /// `None` for calls that see no state: listing endpoints.
    pub(crate) transaction: Option<Transaction>,
    pub(crate) services: Arc<Services>,
    pub(crate) pass: Pass,
    /// Digest of the request, the same in the prepare pass and in the real call.
    pub(crate) request: Digest,
    /// Service time of the request, Unix milliseconds: one call has one time.
    pub(crate) time_ms: u64,
    /// The guest has looked at state, changed it, or used a named key.
    pub(crate) saw_state: bool,
    limiter: Limiter,
    /// What is left for the host's work on behalf of the guest.
    host_fuel: u64,
}

impl CallState {
    pub(crate) fn new(transaction: Option<Transaction>, services: Arc<Services>) -> Self {
        Self {
            transaction,
            services,
            pass: Pass::Real,
            request: Digest::ZERO,
            time_ms: 0,
            saw_state: false,
            limiter: Limiter::default(),
            host_fuel: FUEL_PER_CALL,
        }
    }

    /// Pays for work that the host is about to do for the guest.
    ///
    /// # Errors
    ///
    /// Out of fuel, like an instruction that cannot be paid for.
    pub(crate) fn pay(&mut self, cost: u64) -> wasmtime::Result<()> {
        self.host_fuel = self.host_fuel.checked_sub(cost).ok_or(Trap::OutOfFuel)?;
        Ok(())
    }

    pub(crate) fn of_request(mut self, pass: Pass, request: Digest) -> Self {
        self.pass = pass;
        self.request = request;
        self
    }

    pub(crate) const fn at(mut self, time_ms: u64) -> Self {
        self.time_ms = time_ms;
        self
    }

    /// The transaction that last reset service time: what was minted before it is foreign.
    pub(crate) fn epoch(&mut self) -> wasmtime::Result<u64> {
        // No look at state in the sense of decision 58: it only ever grows, so what is foreign here is
        // foreign on the writer.
        let transaction = self
            .transaction
            .as_mut()
            .ok_or_else(|| wasmtime::format_err!("this call sees no state"))?;
        let row = SERVICE_TIME_RESET.get_versioned(transaction, &Singleton)?;
        Ok(row.map_or(0, |row| row.version.seqno))
    }

    /// The transaction; a trap for a guest that reads state where there is none.
    pub(crate) fn transaction(&mut self) -> wasmtime::Result<&mut Transaction> {
        self.saw_state = true;
        self.transaction
            .as_mut()
            .ok_or_else(|| wasmtime::format_err!("this call sees no state"))
    }
}

/// The handle that stands for reading the call's transaction.
pub(crate) fn reader() -> Resource<Reader> {
    Resource::new_own(0)
}

/// The handle that stands for changing the call's transaction.
pub(crate) fn writer() -> Resource<Writer> {
    Resource::new_own(1)
}

/// Runs `call` in a fresh store with the fuel of a whole call; gives its result with the state.
pub(crate) fn run<R>(
    engine: &Engine,
    state: CallState,
    call: impl FnOnce(&mut Store<CallState>) -> wasmtime::Result<R>,
) -> Result<(CallState, R), GuestFailure> {
    run_with(FUEL_PER_CALL, engine, state, call)
}

/// The same with so much fuel, for instructions and, once more, for what the host does on behalf of
/// the guest.
pub(crate) fn run_with<R>(
    fuel: u64,
    engine: &Engine,
    state: CallState,
    call: impl FnOnce(&mut Store<CallState>) -> wasmtime::Result<R>,
) -> Result<(CallState, R), GuestFailure> {
    let mut state = state;
    state.host_fuel = fuel;
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    store
        .set_fuel(fuel)
        .map_err(|e| GuestFailure::Trap(format!("{e:#}")))?;
    let context = store.data().transaction.as_ref().map(Transaction::context);
    let ticks = match context {
        Some(Context::Decide | Context::Apply) => TICKS_PER_DECISION,
        // Nobody waits behind it, and it is there for what takes long.
        _ if store.data().pass == Pass::Prepare => TICKS_PER_DECISION,
        _ => TICKS_PER_CALL,
    };
    store.set_epoch_deadline(ticks);
    match call(&mut store) {
        Ok(result) => Ok((store.into_data(), result)),
        Err(error) => Err(classify(&error, store.data().limiter.refused)),
    }
}

/// Fuel and memory are limits of the component; time and room in the pool are this machine's at
/// this moment, also where a nested call met them. Everything else is a trap (decision 37).
fn classify(error: &wasmtime::Error, refused_growth: bool) -> GuestFailure {
    if refused_growth {
        return GuestFailure::Limit("memory".to_owned());
    }
    if let Some(LoadError::Busy(what)) = error.downcast_ref::<LoadError>() {
        return GuestFailure::Busy(what.clone());
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => GuestFailure::Limit(FUEL.to_owned()),
        Some(Trap::Interrupt) => GuestFailure::Busy("time".to_owned()),
        _ if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
            GuestFailure::Busy("too many calls at a time".to_owned())
        }
        _ => GuestFailure::Trap(format!("{error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_of_the_machine_is_not_a_limit_of_the_component() {
        let nested = wasmtime::Error::from(LoadError::Busy("time".to_owned()));
        for (error, expected) in [
            (Trap::Interrupt.into(), GuestFailure::Busy("time".to_owned())),
            (nested.context("an import"), GuestFailure::Busy("time".to_owned())),
            (Trap::OutOfFuel.into(), GuestFailure::Limit("fuel".to_owned())),
        ] {
            assert_eq!(classify(&error, false), expected);
        }
    }
}
