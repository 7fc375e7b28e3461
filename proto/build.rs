//! Compiles `downbeat/v1/*.proto` without a protoc on the machine.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["common", "task", "review", "agent", "context", "worker", "workflow", "schedule"]
        .map(|name| format!("downbeat/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=downbeat");
    let descriptors = protox::compile(files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
