//! The machine, its lines to the indexes, and its end, for its owner.

use std::{sync::PoisonError, time::Duration};

use embermesh_dialects::{
    ErrorCode, Failure,
    port::node::{
        Call,
        owner::machine::{Link, Machine, Overview},
        status::Load,
    },
};
use futures::{StreamExt as _, stream::BoxStream};
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::IntervalStream;
use tokio_util::sync::CancellationToken;

use super::{Foreign, Right};
use crate::{Shutdown, task::Phase};

/// How often the load is remembered.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// How many loads are remembered: those of five minutes.
const MAX_HISTORY: usize = 60;
/// How long an index may take to have the node again, before the owner hears that it is
/// tried on.
const LINK_WAIT: Duration = Duration::from_secs(10);

#[tonic::async_trait]
impl Machine for Foreign {
    async fn overview(&self, call: &Call) -> Result<Overview, Failure> {
        self.entitled(call, Right::Look)?;
        Ok(self.seen().await)
    }

    fn history(&self, call: &Call) -> Result<Vec<Load>, Failure> {
        self.entitled(call, Right::Look)?;
        let history = self.inner.parts.owner.history.lock();
        let history = history.unwrap_or_else(PoisonError::into_inner);
        Ok(history.iter().copied().collect())
    }

    fn watch(
        &self,
        call: &Call,
        every: Duration,
    ) -> Result<BoxStream<'static, Result<Overview, Failure>>, Failure> {
        let until = self.entitled(call, Right::Look)?;
        let mut ticks = interval(every);
        // A reader that is slow sees less, and not all at once.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let this = self.clone();
        let seen = IntervalStream::new(ticks).then(move |_| {
            let this = this.clone();
            async move { Ok(this.seen().await) }
        });
        self.streamed(until, seen)
    }

    fn stop(&self, call: &Call, gracefully: bool) -> Result<(), Failure> {
        self.entitled(call, Right::Command)?;
        let shutdown = &self.inner.parts.owner.reins.shutdown;
        let how = if gracefully {
            Shutdown::Drain
        } else {
            Shutdown::Now
        };
        if shutdown.receiver_count() == 0 {
            let message = "whoever runs this node does not let it be ended from here";
            return Err(Failure::new(ErrorCode::Precondition, message));
        }
        tracing::info!(?how, "the owner ends the node");
        // The first word counts: what ends already ends as it was told to.
        shutdown.send_if_modified(|asked| {
            let first = asked.is_none();
            asked.get_or_insert(how);
            first
        });
        Ok(())
    }

    async fn link(&self, call: &Call, wanted: bool) -> Result<Link, Failure> {
        self.entitled(call, Right::Command)?;
        let parts = &self.inner.parts;
        let refuse = |message: String| Err(Failure::new(ErrorCode::Precondition, message));
        if parts.indexes.is_empty() {
            let message = "this node has no index: name one in `indexes` of its configuration";
            return refuse(message.to_owned());
        }
        let of_indexes = parts
            .tasks
            .all()
            .into_iter()
            .filter(|task| task.reports_to().is_some() && task.phase() != Phase::Ended)
            .count();
        if !wanted && of_indexes > 0 {
            return refuse(format!(
                "{of_indexes} tasks of indexes run here, and would be run elsewhere again: cancel them first, or wait"
            ));
        }
        let links = &parts.owner.reins.links;
        links.want(wanted);
        links.settled(wanted, LINK_WAIT).await;
        Ok(self.standing())
    }
}

impl Foreign {
    fn standing(&self) -> Link {
        let parts = &self.inner.parts;
        let links = &parts.owner.reins.links;
        match (parts.indexes.is_empty() || !links.wanted(), links.up()) {
            (true, _) => Link::Off,
            (false, 0) => Link::Trying,
            (false, _) => Link::Up,
        }
    }

    async fn seen(&self) -> Overview {
        let parts = &self.inner.parts;
        let serves = |kind: &str| kind == super::models::KIND;
        let running = parts.tasks.all().into_iter();
        let (deployments, jobs): (Vec<_>, Vec<_>) = running
            .filter(|task| task.phase() != Phase::Ended)
            .partition(|task| serves(&task.about().kind));
        let count = |some: usize| u32::try_from(some).unwrap_or(u32::MAX);
        Overview {
            now: self.machine(Vec::new()).await,
            jobs: count(jobs.len()),
            deployments: count(deployments.len()),
            link: self.standing(),
        }
    }

    /// Remembers the load at even times, until `cancel`.
    pub(crate) fn measure(
        &self,
        cancel: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let this = self.clone();
        async move {
            let mut ticks = interval(MEASURE_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
                let load = this.load().await;
                let history = this.inner.parts.owner.history.lock();
                let mut history = history.unwrap_or_else(PoisonError::into_inner);
                if history.len() == MAX_HISTORY {
                    history.pop_front();
                }
                history.push_back(load);
            }
        }
    }
}
