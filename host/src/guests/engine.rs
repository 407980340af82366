//! How components run: settings, limits, and the clock that stops a guest which fuel did not.
//!
//! Source of the figures: `wasm-guests.md` §6 and decision 30. Fuel decides, since it is the same
//! on every machine; the epoch is the backstop for time spent in the host on a guest's behalf.

use std::time::Duration;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, ResourceLimiter,
};

/// Instructions that one call may execute, in the engine's units.
pub(super) const FUEL_PER_CALL: u64 = 2_000_000_000;
/// Linear memory of one instance, in bytes.
pub(super) const MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Stack of one call, in bytes.
const STACK_BYTES_MAX: usize = 512 * 1024;
/// Elements of one table.
const TABLE_ELEMENTS_MAX: usize = 20_000;
/// Instances at a time: the writer, the readers, prepare passes, and room for bursts.
const INSTANCES_MAX: u32 = 256;
/// Core modules, memories and tables of one component: the adapter's shims and the guest itself.
const CORE_INSTANCES_PER_COMPONENT: u32 = 8;
const TABLES_PER_COMPONENT: u32 = 4;
/// Bytes of an instance's memory that the pool keeps mapped for the next call.
const KEEP_RESIDENT_BYTES: usize = 64 * 1024;
/// The epoch's period.
const TICK: Duration = Duration::from_millis(250);
/// Wall-clock limit of one call, in ticks: five seconds.
pub(super) const TICKS_PER_CALL: u64 = 20;
/// Wall-clock limit of a constitution's call and of a prepare pass, in ticks: one minute. Inspecting
/// a component compiles it, and a slow machine must not be able to lock members out of voting.
pub(super) const TICKS_PER_DECISION: u64 = 240;

/// Opens the kernel's list of touched pages, which instances are reset by; once opened it stays. A
/// process that is not dumpable may not open its own unless it is root's.
pub(crate) fn open_page_map() {
    let there = PoolingAllocationConfig::is_pagemap_scan_available();
    tracing::debug!(there, "the kernel's scan of touched pages");
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX)
        .total_core_instances(INSTANCES_MAX * 4)
        .total_memories(INSTANCES_MAX)
        .total_tables(INSTANCES_MAX * 2)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(1)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_memory_size(MEMORY_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// An engine with our settings, and a thread that advances its epoch while it lives.
///
/// # Errors
///
/// If the machine cannot reserve the pool's address space.
pub(crate) fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool()))
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES_MAX)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_component_model(true);
    let engine = Engine::new(&config)?;
    let ticking = engine.weak();
    std::thread::Builder::new()
        .name("guest-epoch".to_owned())
        .spawn(move || {
            while let Some(engine) = ticking.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })?;
    Ok(engine)
}

/// Refuses growth beyond the limits and remembers that it did, so that the trap which follows is
/// reported as an exhausted limit.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    pub(crate) refused: bool,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired <= MEMORY_BYTES_MAX {
            return Ok(true);
        }
        self.refused = true;
        wasmtime::bail!("more than {MEMORY_BYTES_MAX} bytes of memory")
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Err(error)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired <= TABLE_ELEMENTS_MAX {
            return Ok(true);
        }
        self.refused = true;
        wasmtime::bail!("more than {TABLE_ELEMENTS_MAX} table elements")
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Err(error)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_PER_COMPONENT as usize
    }

    fn tables(&self) -> usize {
        TABLES_PER_COMPONENT as usize
    }

    fn memories(&self) -> usize {
        1
    }
}
