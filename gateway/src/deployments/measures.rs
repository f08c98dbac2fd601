//! What is asked of deployments through this gateway, as it is measured.

use std::time::{Duration, Instant};

use embermesh_crypto::{UnixMillis, ids::JobId};
use embermesh_dialects::port::deployments::Measure;

use crate::Gateway;

/// How long a minute's counts are kept, in milliseconds: a month.
const KEPT_MS: u64 = 31 * 86_400_000;

/// An ask that is under way. It is counted when this is dropped: as one that ended
/// badly, unless it was said to have ended well.
pub(crate) struct Asking {
    gateway: Gateway,
    job: Option<JobId>,
    began: Instant,
    well: bool,
}

impl Asking {
    /// An ask of what `model` names: counted where that is the job of a deployment.
    pub(crate) fn begin(gateway: &Gateway, model: &str) -> Self {
        Self {
            gateway: gateway.clone(),
            job: model.parse().ok(),
            began: Instant::now(),
            well: false,
        }
    }

    /// It has ended well.
    pub(crate) fn well(&mut self) {
        self.well = true;
    }

    /// How long it has taken so far.
    fn took(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some(job) = self.job else {
            return;
        };
        let now = UnixMillis::now();
        let ask = Measure {
            at: now,
            span: Duration::ZERO,
            asks: 1,
            failed: u64::from(!self.well),
            time: self.took(),
        };
        let gateway = self.gateway.clone();
        let keep_from = UnixMillis(now.0.saturating_sub(KEPT_MS));
        self.gateway.inner.tasks.spawn(async move {
            let counted = gateway.inner.store.count_ask(job, &ask, keep_from).await;
            if let Err(error) = counted {
                tracing::warn!(%job, %error, "an ask was not counted");
            }
        });
    }
}
