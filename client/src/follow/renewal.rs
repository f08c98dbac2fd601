//! Keeps the token of an attempt fresh, so that the node can be joined again even
//! when whoever gave it is away.

use std::time::Duration;

use embermesh_crypto::time::UnixMillis;
use embermesh_job::assignment::NodeAssignment;
use futures::future::BoxFuture;

use super::authority::Renewer;
use crate::{
    ClientError,
    bounds::{RENEW_BEFORE, RENEW_PAUSE},
};

/// A renewal that is due some time.
pub(super) struct Renewal {
    due: BoxFuture<'static, Result<NodeAssignment, ClientError>>,
}

impl Renewal {
    /// Renews when the token nears its end.
    pub(super) fn of(renewer: Renewer, held: &NodeAssignment) -> Self {
        let left = held.expires_at.since(UnixMillis::now());
        // A token of a short life is renewed half way.
        let wait = left
            .saturating_sub(RENEW_BEFORE.min(left / 2))
            .max(RENEW_PAUSE);
        Self::after(renewer, held, wait)
    }

    /// Renews a little later, after a failure.
    pub(super) fn retry(renewer: Renewer, held: &NodeAssignment) -> Self {
        Self::after(renewer, held, RENEW_PAUSE)
    }

    fn after(renewer: Renewer, held: &NodeAssignment, wait: Duration) -> Self {
        let held = held.clone();
        Self {
            due: Box::pin(async move {
                tokio::time::sleep(wait).await;
                renewer.renew(&held).await
            }),
        }
    }

    pub(super) async fn due(&mut self) -> Result<NodeAssignment, ClientError> {
        (&mut self.due).await
    }
}
