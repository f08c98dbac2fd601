//! The one line with which a daemon says that it serves, and where.

use std::{io, net::SocketAddr};

use embermesh_crypto::PeerId;
use serde_json::{Value, json};

use crate::output::Output;

/// A daemon that serves.
#[derive(Debug)]
pub(crate) struct Ready {
    /// "index" or "node".
    pub(crate) what: &'static str,
    /// Who it is.
    pub(crate) peer: PeerId,
    /// Which network it is part of.
    pub(crate) network: String,
    /// Where gRPC is served.
    pub(crate) address: SocketAddr,
    /// Where the mesh reaches it.
    pub(crate) mesh: Vec<String>,
    /// Where `/metrics` is.
    pub(crate) metrics: Option<SocketAddr>,
    /// Whatever else there is to say.
    pub(crate) more: Value,
}

impl Ready {
    /// Prints it: one line of JSON for programs.
    pub(crate) fn print(&self, output: Output) -> io::Result<()> {
        if output.is_table() {
            return output.line(&self.text());
        }
        let mut value = json!({
            "ready": self.what,
            "peer": self.peer,
            "network": self.network,
            "address": self.address.to_string(),
            "mesh": self.mesh,
            "metrics": self.metrics.map(|address| address.to_string()),
            "pid": std::process::id(),
        });
        if let (Some(value), Some(more)) = (value.as_object_mut(), self.more.as_object()) {
            value.extend(more.clone());
        }
        output.line(&value.to_string())
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} {} serves on {} (network {})",
            self.what, self.peer, self.address, self.network
        );
        if let Some(metrics) = self.metrics {
            text.push_str(&format!(", metrics on http://{metrics}/metrics"));
        }
        text
    }
}
