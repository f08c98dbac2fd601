//! Whether the index can do its work now (`grpc.health.v1`), for whoever decides
//! where calls go: it cannot while its store cannot be written, and it does not
//! take on any more while it stops. All its services stand or fall together.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health,
};

/// Serves `grpc.health.v1.Health`.
#[derive(Clone)]
pub(super) struct HealthService {
    /// The names that may be asked for; the empty one is the server as a whole.
    pub(super) services: Arc<[&'static str]>,
    /// Whether the store can be written.
    pub(super) writable: watch::Receiver<bool>,
    /// Cancelled when the index begins to stop.
    pub(super) cancel: CancellationToken,
}

impl HealthService {
    fn known(&self, request: &Request<HealthCheckRequest>) -> Result<(), Status> {
        let service = request.get_ref().service.as_str();
        if service.is_empty() || self.services.contains(&service) {
            return Ok(());
        }
        Err(Status::not_found(format!(
            "there is no service {service} here"
        )))
    }

    /// The answer now, and whether it is the last one.
    fn answer(&mut self) -> (HealthCheckResponse, bool) {
        let stopping = self.cancel.is_cancelled();
        let writable = *self.writable.borrow_and_update();
        let status = if writable && !stopping {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        let answer = HealthCheckResponse {
            status: status.into(),
        };
        (answer, stopping)
    }

    /// Waits until the answer may be another. The store's word ends with the
    /// actor, which outlives the services: without it there is nothing to wait for.
    async fn changed(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => true,
            changed = self.writable.changed() => changed.is_ok(),
        }
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.known(&request)?;
        Ok(Response::new(self.clone().answer().0))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.known(&request)?;
        let mut health = self.clone();
        let (first, last) = health.answer();
        // The stream ends with the word that the index stops, so that nobody who
        // watches holds up the stop.
        let later = stream::unfold((!last).then_some(health), |health| async move {
            let mut health = health?;
            if !health.changed().await {
                return None;
            }
            let (answer, last) = health.answer();
            Some((Ok(answer), (!last).then_some(health)))
        });
        let stream = stream::iter([Ok(first)]).chain(later);
        Ok(Response::new(Box::pin(stream)))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn ask(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest {
            service: service.to_owned(),
        })
    }

    #[tokio::test]
    async fn it_follows_the_store_and_ends_with_the_stop() {
        let (store, writable) = watch::channel(true);
        let cancel = CancellationToken::new();
        let health = HealthService {
            services: Arc::new(["a"]),
            writable,
            cancel: cancel.clone(),
        };
        let mut watched = health.watch(ask("a")).await.unwrap().into_inner();
        for (writable, expected) in [
            (true, ServingStatus::Serving),
            (false, ServingStatus::NotServing),
            (true, ServingStatus::Serving),
        ] {
            store.send_if_modified(|now| std::mem::replace(now, writable) != writable);
            assert_eq!(watched.next().await.unwrap().unwrap().status(), expected);
            let checked = health.check(ask("")).await.unwrap().into_inner();
            assert_eq!(checked.status(), expected);
        }
        cancel.cancel();
        let last = watched.next().await.unwrap().unwrap();
        assert_eq!(last.status(), ServingStatus::NotServing);
        assert!(watched.next().await.is_none());
        let stranger = health.check(ask("b")).await.unwrap_err();
        assert_eq!(stranger.code(), Code::NotFound);
    }
}
