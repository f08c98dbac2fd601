//! The one task that looks after all provers: heartbeats, and those that are lost.

use std::time::Duration;

use embermesh_crypto::UnixMillis;

use crate::Gateway;

/// How often provers are looked after.
const SWEEP: Duration = Duration::from_secs(1);

impl Gateway {
    /// Looks after provers until the gateway stops.
    pub(crate) fn sweep_provers(&self) {
        let gateway = self.clone();
        self.inner.tasks.spawn(async move {
            let cancel = gateway.inner.cancel.clone();
            cancel.run_until_cancelled(gateway.sweep()).await;
            let reason = "the coordinator stops; connect again soon";
            gateway.inner.hall.roster().close(reason);
        });
    }

    async fn sweep(&self) {
        let hall = &self.inner.hall;
        loop {
            tokio::select! {
                () = hall.swept.notified() => {}
                () = tokio::time::sleep(SWEEP) => {}
            }
            let notes = hall.roster().sweep(UnixMillis::now());
            for (proof, lost) in notes {
                // A proof that has ended hears nobody.
                let _ = proof.send(lost).await;
            }
        }
    }
}
