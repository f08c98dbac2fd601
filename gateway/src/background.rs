//! What goes on beside calls, and how it ends: with the gateway, whoever asked for it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use embermesh_dialects::Failure;
use tokio::{sync::Notify, task::spawn_blocking, time::timeout};

use crate::{Gateway, failure::store_failed, folder, jobs::Live, store::Kept};

/// How often what waits for somebody foreign is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long what comes is gathered before it is looked at: each look goes over all that
/// waits.
const GATHER: Duration = Duration::from_millis(10);

impl Gateway {
    /// Has something go on until it ends or the gateway stops.
    pub(crate) fn go_on_with(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.inner.cancel.clone();
        self.inner.tasks.spawn(async move {
            cancel.run_until_cancelled(task).await.unwrap_or_default();
        });
    }

    /// The same, and waits for it; it goes on when whoever waits goes away. Nothing where
    /// the gateway stops before it has ended.
    pub(crate) async fn see_out<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let cancel = self.inner.cancel.clone();
        let task = async move { cancel.run_until_cancelled(task).await };
        match self.inner.tasks.spawn(task).await {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "a task of the gateway did not end well");
                None
            }
        }
    }

    /// Looks at what waits, again and again: when it is woken, and else now and then.
    pub(crate) fn look_often<L: Future<Output = ()> + Send>(
        &self,
        wake: fn(&Self) -> &Notify,
        look: impl Fn(Self) -> L + Send + 'static,
    ) {
        let gateway = self.clone();
        self.go_on_with(async move {
            loop {
                look(gateway.clone()).await;
                if timeout(TICK, wake(&gateway).notified()).await.is_ok() {
                    tokio::time::sleep(GATHER).await;
                }
            }
        });
    }

    /// Brings a kept job to the mesh, where it stays.
    pub(crate) fn bring_to_mesh(&self, kept: Kept, live: Arc<Live>) {
        let gateway = self.clone();
        self.go_on_with(async move { gateway.take_up(kept, live).await });
    }

    /// An input of a kept job, whole.
    pub(crate) async fn input(&self, number: i64, digest: &str) -> Result<Bytes, Failure> {
        let path = self.inner.folders.input(number, digest);
        spawn_blocking(move || folder::read(&path, &(0..u64::MAX)))
            .await
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|error| store_failed(&error))
    }
}
