//! The wasmtime engine: what plugins may be made of, and the clock that interrupts them.

use std::thread;
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::error::HostError;

/// One epoch: the grain of deadlines.
const EPOCH_TICK: Duration = Duration::from_millis(1);

/// Stack of a plugin. Deep recursion ends here, long before the worker thread's own 2 MiB.
const WASM_STACK_BYTES_MAX: usize = 256 << 10;

/// Core instances of one component; what `wit-component` makes of a Rust guest has four, and a
/// component that is composed of others (`wac`, `wasi-virt`, `jco` with `QuickJS`) has those of all
/// of them and an adapter for each interface between them.
const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 64;

/// Memories and tables of one component, over all that it is composed of. `limits.memory_bytes`
/// and `limits.table_elements` hold for their sums.
const MEMORIES_PER_COMPONENT_MAX: u32 = 8;
const TABLES_PER_COMPONENT_MAX: u32 = 32;

/// The pool's ceiling for one linear memory. Each plugin's own limit is lower; this one is for
/// guests that bring an interpreter.
pub(crate) const MEMORY_BYTES_MAX: usize = 256 << 20;

/// The pool's ceiling for one table, likewise.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 65_536;

/// Pages of a linear memory that stay resident when a slot is freed: resetting them is cheaper
/// than faulting them in again.
const KEEP_RESIDENT_BYTES: usize = 2 << 20;

/// Stack of a fiber: a plugin's own, and what the host's calls need below it. Address space;
/// only touched pages take memory.
const FIBER_STACK_BYTES: usize = 1 << 20;

fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES_MAX)
        .async_stack_size(FIBER_STACK_BYTES)
        // Async component ABIs cost every call 0.4 µs. Hooks whose imports await need none: they
        // run on a fiber, and only they do.
        .concurrency_support(false)
        // What no plugin needs is attack surface.
        .gc_support(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_memory64(false)
        .wasm_threads(false)
        // The adapters between composed components read one memory and write another. Modules
        // with one memory are compiled to the same code as without.
        .wasm_multi_memory(true)
        .wasm_relaxed_simd(false);
    config
}

/// Fibers that exist at once. Each is two mappings from the start on, of the 65,530 that Linux
/// gives a process.
const FIBERS_MAX: u32 = 4_096;

/// Memory slots of the largest pool. A slot is 4 GiB of address space and a guard of 32 MiB: this
/// many take 79 TiB, of the 85 TiB that a process has in one piece below its own program.
const MEMORIES_MAX: u32 = 20_000;

/// Memory slots for so many instances: most have one memory, so half as many again leave room for
/// composed ones, which have several.
fn memories(instances: u32) -> u32 {
    let roomy = instances.saturating_add(instances / 2).min(MEMORIES_MAX);
    roomy.max(instances).max(MEMORIES_PER_COMPONENT_MAX)
}

/// The engine for running: instances come from a pool of `instances` slots, and run on fibers
/// where they await something.
pub(crate) fn running(instances: u32, awaits: bool) -> Result<Engine, HostError> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        // Only counted: a core instance takes no slot.
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_PER_COMPONENT_MAX))
        .total_memories(memories(instances))
        // Half a megabyte of address space each.
        .total_tables(instances.saturating_mul(4))
        .total_stacks(if awaits { instances.min(FIBERS_MAX) } else { 0 })
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_memories_per_component(MEMORIES_PER_COMPONENT_MAX)
        .max_tables_per_component(TABLES_PER_COMPONENT_MAX)
        .max_memory_size(MEMORY_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_ELEMENTS_MAX)
        // Reset only the pages that were touched (kernel 6.7), not the whole memory.
        .pagemap_scan(Enabled::Auto);
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config).map_err(HostError::Engine)?;
    tick(&engine).map_err(|source| HostError::Io {
        what: "cannot start the thread that interrupts plugins".to_owned(),
        source,
    })?;
    Ok(engine)
}

/// The engine for compiling only. The same code as [`running`], without the pool's address
/// space, so that it fits under a limit.
pub(crate) fn compiling() -> Result<Engine, HostError> {
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config).map_err(HostError::Engine)
}

/// Advances the epoch from an OS thread. A task would starve exactly when a plugin holds a
/// worker. The thread ends when the engine is gone.
fn tick(engine: &Engine) -> std::io::Result<()> {
    let weak = engine.weak();
    thread::Builder::new()
        .name("pillion-epoch".to_owned())
        .spawn(move || {
            loop {
                thread::sleep(EPOCH_TICK);
                match weak.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => break,
                }
            }
        })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::POOL_SLOTS_MAX;

    #[test]
    fn h05_the_largest_pool_fits_the_address_space() {
        running(POOL_SLOTS_MAX, false).map(drop).unwrap();
    }
}
