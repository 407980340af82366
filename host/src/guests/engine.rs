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
/// What a query may use on the thread that read it: about a millisecond at most, as a TLS handshake
/// takes there. What needs more begins again on a thread of its own.
pub(super) const FUEL_OF_A_MOMENT: u64 = 2_000_000;
/// What a component may use to list its endpoints.
pub(super) const FUEL_OF_A_LIST: u64 = 50_000_000;
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use wasm_encoder::{
        CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection,
        Instruction, MemorySection, MemoryType, RefType, TableSection, TableType, TypeSection,
    };
    use wasmtime::{Func, Instance, Module, Store};

    use super::*;

    const PAGE: usize = 64 * 1024;

    fn module(engine: &Engine, pages: usize, elements: usize) -> wasmtime::Result<Module> {
        let mut tables = TableSection::new();
        tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: elements as u64,
            maximum: None,
            shared: false,
        });
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: pages as u64,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let mut bytes = wasm_encoder::Module::new();
        bytes.section(&tables).section(&memories);
        Module::new(engine, bytes.finish())
    }

    fn instance<T: 'static>(
        store: &mut Store<T>,
        pages: usize,
        elements: usize,
    ) -> wasmtime::Result<Instance> {
        store.set_epoch_deadline(TICKS_PER_DECISION);
        let module = module(store.engine(), pages, elements)?;
        Instance::new(store, &module, &[])
    }

    #[test]
    fn an_instance_begins_with_the_most_memory_and_elements_and_not_with_more() {
        let engine = engine().unwrap();
        let begins = |pages, elements| instance(&mut Store::new(&engine, ()), pages, elements).is_ok();
        let pages = MEMORY_BYTES_MAX / PAGE;
        assert!(begins(pages, TABLE_ELEMENTS_MAX));
        assert!(!begins(pages + 1, 1));
        assert!(!begins(1, TABLE_ELEMENTS_MAX + 1));
    }

    #[test]
    fn the_limiter_lets_grow_to_the_most_and_remembers_that_it_refused_more() {
        let grows = |memory: bool, desired: usize| {
            let mut limiter = Limiter::default();
            let grown = if memory {
                limiter.memory_growing(0, desired, None)
            } else {
                limiter.table_growing(0, desired, None)
            };
            (grown.is_ok_and(|grown| grown), limiter.refused)
        };
        for (memory, most) in [(true, MEMORY_BYTES_MAX), (false, TABLE_ELEMENTS_MAX)] {
            assert_eq!(grows(memory, most), (true, false));
            assert_eq!(grows(memory, most + 1), (false, true));
        }
    }

    #[test]
    fn the_most_instances_live_at_a_time_and_one_more_finds_no_room() {
        let engine = engine().unwrap();
        let begin = || {
            let mut store = Store::new(&engine, ());
            instance(&mut store, 1, 1).map(|_| store)
        };
        let mut living: Vec<_> = (0..INSTANCES_MAX).map(|_| begin().unwrap()).collect();
        assert!(begin().is_err());
        living.pop();
        assert!(begin().is_ok());
    }

    /// A function that calls the host and then itself, for ever.
    fn bottomless() -> Vec<u8> {
        let mut types = TypeSection::new();
        types.ty().function([], []);
        let mut imports = ImportSection::new();
        imports.import("", "here", EntityType::Function(0));
        let mut functions = FunctionSection::new();
        functions.function(0);
        let mut exports = ExportSection::new();
        exports.export("down", ExportKind::Func, 1);
        let mut body = Function::new([]);
        for instruction in [Instruction::Call(0), Instruction::Call(1), Instruction::End] {
            body.instruction(&instruction);
        }
        let mut code = CodeSection::new();
        code.function(&body);
        let mut bytes = wasm_encoder::Module::new();
        bytes
            .section(&types)
            .section(&imports)
            .section(&functions)
            .section(&exports)
            .section(&code);
        bytes.finish()
    }

    #[test]
    fn a_call_gets_the_whole_stack_and_traps_at_its_end() {
        let engine = engine().unwrap();
        let depths = Arc::<Mutex<Vec<usize>>>::default();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(TICKS_PER_DECISION);
        store.set_fuel(FUEL_PER_CALL).unwrap();
        let seen = Arc::clone(&depths);
        let here = Func::wrap(&mut store, move || {
            let here = 0_u8;
            seen.lock().unwrap().push(std::ptr::from_ref(&here).addr());
        });
        let module = Module::new(&engine, bottomless()).unwrap();
        let instance = Instance::new(&mut store, &module, &[here.into()]).unwrap();
        let down = instance.get_typed_func::<(), ()>(&mut store, "down").unwrap();
        let trap = down.call(&mut store, ()).unwrap_err();
        assert_eq!(trap.downcast_ref(), Some(&wasmtime::Trap::StackOverflow));
        let depths = depths.lock().unwrap();
        let used = depths.first().unwrap() - depths.last().unwrap();
        // The last frame that fits, and what lies between the call and the first one.
        assert!(
            (STACK_BYTES_MAX - 4096..=STACK_BYTES_MAX).contains(&used),
            "{used}"
        );
    }
}
