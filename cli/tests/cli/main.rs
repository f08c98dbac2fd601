//! The command with real processes: one program, so that it is linked once.

mod account;
mod arrows;
mod blobs;
mod demo;
mod demo_ends;
mod deploy;
mod dim;
mod first_contact;
mod gateway;
mod idle;
mod index_sigkill;
mod interrupts;
mod main_job;
mod offline;
mod onnx;
mod refusals;
mod scripts;
mod stay;
mod steering;
mod support;
mod survival;
mod titancompute;
mod zisk;
