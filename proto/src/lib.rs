//! Every wire format, as generated code and nothing else.
//!
//! The `.proto` files under `proto/` are compiled at build time without a
//! system `protoc`. What is generated here is private to the module that
//! converts it into domain types; no public signature elsewhere names it.

/// The native protocol: the index's services and the node's.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub)]
    #![allow(clippy::all, clippy::unwrap_used, clippy::large_futures)]
    tonic::include_proto!("embermesh.v1");

    /// The encoded `FileDescriptorSet` of this package, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/embermesh.v1.descriptors.bin"));
}
