//! The service of ZisK distributed, mounted.

use std::sync::Arc;

use embermesh_proto::zisk::{DESCRIPTORS, zisk_distributed_api_server::ZiskDistributedApiServer};

use super::Coordinator;
use crate::{
    Mount,
    port::{
        provers::{Proofs, Provers},
        sessions::Sessions,
        users::Users,
    },
};

/// The largest message of a prover, in bytes: its proofs, in up to ten bytes a word.
const MAX_ANSWER: usize = 64 << 20;
/// The largest message to a prover or a client, in bytes: the contributions of a gang, or
/// a final proof.
const MAX_ORDER: usize = 320 << 20;

impl Mount {
    /// Adds the service of ZisK distributed.
    #[must_use]
    pub fn zisk<P: Users + Provers + Proofs + Sessions>(self, port: &Arc<P>) -> Self {
        let service = ZiskDistributedApiServer::new(Coordinator::new(Arc::clone(port)))
            .max_decoding_message_size(MAX_ANSWER)
            .max_encoding_message_size(MAX_ORDER);
        self.serve(service).describe(DESCRIPTORS)
    }
}
