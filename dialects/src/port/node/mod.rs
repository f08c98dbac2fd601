//! One node, as clients of other systems see it who come to it themselves.
//!
//! - [`execution`]: a task by its assignment: start it, follow it, feed it, steer it,
//!   read what it has made.
//! - [`asking`]: the models that are resident there.
//! - [`status`]: the machine and what it does.
//! - [`computing`]: operations over tensors, answered at once.
//! - [`owner`]: all of it, for its owner.
//!
//! Such a client has no key. What it has is a token, and a connection on which it has
//! shown that token: a [`Call`] says both, and the node judges.

pub mod asking;
pub mod computing;
pub mod execution;
pub mod owner;
pub mod status;

use std::net::SocketAddr;

use embermesh_crypto::PeerId;

/// Where a call comes from, as the transport has seen it. Whoever mounts the services
/// puts it into each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Line {
    /// The address at the other end; nothing where the road has none.
    pub remote: Option<SocketAddr>,
    /// The key that the transport has proven; nothing on plaintext.
    pub key: Option<PeerId>,
}

/// A call about a job. `Debug` leaves the token out.
#[derive(Clone, Default)]
pub struct Call {
    /// Where it comes from.
    pub line: Line,
    /// The assignment's token, where the call carries it; without it, the call is
    /// allowed what its line has been allowed before.
    pub token: Option<String>,
    /// What the caller calls the job; empty for the newest of its line.
    pub job: String,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("line", &self.line)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("job", &self.job)
            .finish()
    }
}
