//! Compiles the `.proto` files with protox, so that no system protoc is needed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

/// Sets of files that are compiled together: the name of their descriptors, and the
/// files. Two forms of one protocol have one package, so each set has a folder of its own.
const SETS: &[(&str, &[&str])] = &[
    (
        "embermesh",
        &[
            "embermesh/v1/index.proto",
            "embermesh/v1/ledger.proto",
            "embermesh/v1/node.proto",
            "embermesh/v1/reservation.proto",
        ],
    ),
    ("titancompute", &["titancompute/v1/titancompute.proto"]),
    (
        "zisk",
        &["zisk/distributed/api/v1/zisk_distributed_api.proto"],
    ),
    (
        "dim",
        &[
            "dim/common.proto",
            "dim/daemon.proto",
            "dim/orchestrator.proto",
            "dim/pattern_engine.proto",
        ],
    ),
    (
        "hivemind",
        &["hivemind/nodepool.proto", "hivemind/taskworker.proto"],
    ),
    ("hivemind_shipped", &["hivemind/shipped/nodepool.proto"]),
    (
        "cyxwiz",
        &[
            "cyxwiz/compute.proto",
            "cyxwiz/daemon.proto",
            "cyxwiz/deployment.proto",
            "cyxwiz/inference.proto",
            "cyxwiz/reservation.proto",
            "cyxwiz/wallet.proto",
        ],
    ),
    (
        "cyxwiz_shipped",
        &[
            "cyxwiz/shipped/compute.proto",
            "cyxwiz/shipped/deployment.proto",
            "cyxwiz/shipped/inference.proto",
            "cyxwiz/shipped/reservation.proto",
            "cyxwiz/shipped/wallet.proto",
        ],
    ),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for (name, files) in SETS {
        let folder = out.join(name);
        fs::create_dir_all(&folder)?;
        let descriptors = protox::compile(*files, ["proto"])?;
        fs::write(folder.join("descriptors.bin"), descriptors.encode_to_vec())?;
        tonic_prost_build::configure()
            .out_dir(folder)
            .bytes(".")
            .compile_fds(descriptors)?;
    }
    Ok(())
}
