//! Bakes the startup snapshot and the base of heaps that the worker carries: the same crate makes
//! them here and uses them there, so both sides agree on their native references.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let directory = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR for build scripts")?;
    let directory = Path::new(&directory);
    std::fs::write(directory.join("snapshot.bin"), mcp_v8_runtime::bake()?)?;
    let heap = mcp_v8_runtime::bake_heap_base()?;
    std::fs::write(directory.join("heap.bin"), heap.blob)?;
    std::fs::write(directory.join("heap-facts.bin"), heap.facts)?;
    std::fs::write(directory.join("heap-engine.bin"), heap.engine)?;
    Ok(())
}
