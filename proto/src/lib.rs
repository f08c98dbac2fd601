//! Every wire format, as generated code and nothing else.
//!
//! The `.proto` files under `proto/` are compiled at build time without a
//! system `protoc`. What is generated here is private to the module that
//! converts it into domain types; no public signature elsewhere names it.
//!
//! Beside the native protocol there are those of five other systems, each in the form
//! that its documentation gives. Where the form that shipped differs from it on the same
//! path, that is here too, in a module `shipped`.

/// What was generated for one package, by its set and its name.
macro_rules! generated {
    ($set:literal, $package:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $set, "/", $package, ".rs"));
    };
}

/// The encoded `FileDescriptorSet` of a set, for gRPC reflection.
macro_rules! descriptors {
    ($set:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $set, "/descriptors.bin"))
    };
}

/// The native protocol: the index's services and the node's.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub)]
    #![allow(clippy::all, clippy::unwrap_used, clippy::large_futures)]
    generated!("embermesh", "embermesh.v1");

    /// The encoded `FileDescriptorSet` of this package, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = descriptors!("embermesh");
}

/// CyxWiz: jobs, nodes, execution, reservations, wallets, deployments, models.
pub mod cyxwiz {
    #![allow(missing_docs, unreachable_pub)]
    #![allow(clippy::all, clippy::unwrap_used, clippy::large_futures)]

    /// The package `cyxwiz.protocol`.
    pub mod protocol {
        generated!("cyxwiz", "cyxwiz.protocol");
    }

    /// The package `cyxwiz.daemon`: a node's owner and his own daemon.
    pub mod daemon {
        generated!("cyxwiz", "cyxwiz.daemon");
    }

    /// The package `cyxwiz.protocol` as it shipped.
    pub mod shipped {
        generated!("cyxwiz_shipped", "cyxwiz.protocol");
    }

    /// The encoded `FileDescriptorSet` of both packages, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = descriptors!("cyxwiz");
    /// The same of the form that shipped.
    pub const SHIPPED_DESCRIPTORS: &[u8] = descriptors!("cyxwiz_shipped");
}

/// TitanCompute: a coordinator, agents, and streams of tokens.
pub mod titancompute {
    #![allow(missing_docs, unreachable_pub)]
    #![allow(clippy::all, clippy::unwrap_used, clippy::large_futures)]
    generated!("titancompute", "titancompute.v1");

    /// The encoded `FileDescriptorSet` of this package, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = descriptors!("titancompute");
}

/// ZisK distributed: a coordinator and provers that dial in.
pub mod zisk {
    #![allow(missing_docs, unreachable_pub)]
    #![allow(clippy::all, clippy::unwrap_used, clippy::large_futures)]
    generated!("zisk", "zisk.distributed.api.v1");

    /// The encoded `FileDescriptorSet` of this package, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = descriptors!("zisk");
}

/// DIM: jobs over several nodes in one of three patterns.
pub mod dim {
    #![allow(missing_docs, unreachable_pub)]
    #![allow(clippy::all, clippy::unwrap_used, clippy::large_futures)]

    /// What the other packages share.
    pub mod common {
        generated!("dim", "dim.common");
    }

    /// One node.
    pub mod daemon {
        generated!("dim", "dim.daemon");
    }

    /// The service for jobs.
    pub mod orchestrator {
        generated!("dim", "dim.orchestrator");
    }

    /// One pattern, executed at once.
    pub mod pattern_engine {
        generated!("dim", "dim.pattern_engine");
    }

    /// The encoded `FileDescriptorSet` of these packages, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = descriptors!("dim");
}

/// HiveMind: users, a pool of nodes, and tasks as archives.
pub mod hivemind {
    #![allow(missing_docs, unreachable_pub)]
    #![allow(clippy::all, clippy::unwrap_used, clippy::large_futures)]

    /// The package `nodepool`.
    pub mod nodepool {
        generated!("hivemind", "nodepool");
    }

    /// The package `taskworker`.
    pub mod taskworker {
        generated!("hivemind", "taskworker");
    }

    /// The package `nodepool` as it shipped.
    pub mod shipped {
        generated!("hivemind_shipped", "nodepool");
    }

    /// The encoded `FileDescriptorSet` of both packages, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = descriptors!("hivemind");
    /// The same of the form that shipped.
    pub const SHIPPED_DESCRIPTORS: &[u8] = descriptors!("hivemind_shipped");
}
