//! Runs one workload on this machine; the only crate that names burn.
//!
//! It has two sides of one pipe. In the daemon: the messages ([`pipe`]), their
//! framing ([`frame`]), and the [`probe`] that measures a device in a process
//! that may be lost. In the worker's process: [`worker::main`], which fences
//! itself in and runs the loop of a job.
//!
//! | module | what it is |
//! |---|---|
//! | [`pipe`], [`frame`] | messages between daemon and worker, and their framing |
//! | [`worker`], `sandbox`, `control` | the worker's process: guards, fences, pause and cancel |
//! | [`device`], [`probe`] | devices compiled in, opened, measured |
//! | `job`, `events`, `pace` | one order, its numbered events, its speed |
//! | `train`, `evaluate`, `metrics`, `predict` | the loops |
//! | `judged` | the model of an evaluation or a prediction |
//! | `loss`, `optimizer`, `clip`, `schedule`, `precision` | what a step follows |
//! | `network`, `randomness` | a declared model over burn's tensors |
//! | [`onnx`] | models in the ONNX format, made into programs |
//! | `program`, `calculate` | programs over burn's tensors, and direct computations |
//! | [`proven`] | executions that can be proven, and opened steps executed again |
//! | [`away`], `feed` | samples that stay with the client, given and asked for |
//! | `dataset` | samples from every format, split, scaled and shuffled by seed |
//! | [`software`], [`usage`] | what computes here, and what it has taken |
//! | [`script`] | programs of clients: WebAssembly and Python |
//! | [`lm`] | language models from GGUF files and from folders of safetensors |
//! | `hub`, `embed`, `texts` | folders of models, encoders, and the texts that they read |
//! | `serve` | models that stay in memory and are asked |
//! | `weights`, `checkpoint` | safetensors in and out |
//!
//! What a job is, and whether it may run, is for others to say.

pub mod away;
mod calculate;
mod checkpoint;
mod clip;
mod control;
mod dataset;
pub mod device;
mod embed;
mod evaluate;
mod events;
mod failure;
mod feed;
pub mod frame;
mod hub;
mod job;
mod judged;
#[allow(
    clippy::result_large_err,
    reason = "what a kernel does not take it gives back, and the caller goes on with it"
)]
mod kernels;
pub mod lm;
mod loss;
mod metrics;
mod network;
pub mod onnx;
mod optimizer;
mod output;
mod pace;
pub mod pipe;
mod precision;
mod predict;
mod prepare;
pub mod probe;
mod program;
pub mod proven;
mod randomness;
mod sandbox;
mod schedule;
pub mod script;
mod serve;
pub mod software;
mod texts;
mod train;
pub mod usage;
mod weights;
pub mod worker;

pub use device::{DeviceChoice, DeviceFault};
pub use failure::{
    FailureClass, InvalidData, InvalidFolder, InvalidWeights, Malformed, Place, WorkFailed,
};
pub use feed::MAX_ASKS;
pub use job::{run_in_process, run_with_data};
pub use program::StepFailed;
pub use script::ScriptFailed;
