//! Bakes the startup snapshot that the worker carries: the same crate makes it here and uses it
//! there, so both sides agree on its native references.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let blob = mcp_v8_runtime::bake()?;
    let directory = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR for build scripts")?;
    std::fs::write(Path::new(&directory).join("snapshot.bin"), blob)?;
    Ok(())
}
