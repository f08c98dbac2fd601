//! Compiles the `.proto` files with protox, so that no system protoc is needed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["embermesh/v1/index.proto", "embermesh/v1/node.proto"];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("embermesh.v1.descriptors.bin"),
        descriptors.encode_to_vec(),
    )?;
    tonic_prost_build::configure()
        .bytes(".embermesh.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
