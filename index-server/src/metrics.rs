//! What Prometheus sees. The recorder belongs to one index, not to the process,
//! so that several can run in one test, and nothing else that records metrics
//! is disturbed.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, http::header, response::IntoResponse as _, routing};
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder as _, Unit,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Upper edges of the buckets for durations, in seconds.
const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];

/// Upper edges of the buckets for the size of a group commit, in commands.
const COMMANDS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

static METADATA: Metadata<'static> =
    Metadata::new("embermesh_index_server", Level::INFO, Some(module_path!()));

/// Handles to every metric of one index, and the means to render them.
#[derive(Clone)]
pub(crate) struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    /// Transactions committed.
    pub(crate) commits: Counter,
    /// Transactions that failed.
    pub(crate) commit_failures: Counter,
    /// How long a transaction took.
    pub(crate) commit_seconds: Histogram,
    /// How many commands one transaction answered.
    pub(crate) batch_commands: Histogram,
    /// How long a command waited for its answer, its commit included.
    pub(crate) command_seconds: Histogram,
    /// Jobs that wait for a node.
    pub(crate) jobs_queued: Gauge,
    /// Jobs that have a node.
    pub(crate) jobs_assigned: Gauge,
    /// Nodes that speak to this index and are alive.
    pub(crate) nodes_live: Gauge,
    /// Orders that a node's stream could not take.
    pub(crate) orders_dropped: Counter,
}

impl Metrics {
    /// A recorder of its own, with every metric described.
    pub(crate) fn new() -> Self {
        // The buckets are constants and not empty, which is all that can fail.
        let builder = PrometheusBuilder::new();
        let builder = builder
            .set_buckets(SECONDS)
            .unwrap_or_else(|_| PrometheusBuilder::new());
        let matcher = metrics_exporter_prometheus::Matcher::Suffix("_commands".to_owned());
        let recorder = match builder.set_buckets_for_metric(matcher, COMMANDS) {
            Ok(builder) => builder.build_recorder(),
            Err(_) => PrometheusBuilder::new().build_recorder(),
        };
        let counter = |name: &'static str, what: &'static str| {
            recorder.describe_counter(KeyName::from_const_str(name), None, what.into());
            recorder.register_counter(&Key::from_static_name(name), &METADATA)
        };
        let gauge = |name: &'static str, what: &'static str| {
            recorder.describe_gauge(KeyName::from_const_str(name), None, what.into());
            recorder.register_gauge(&Key::from_static_name(name), &METADATA)
        };
        let histogram = |name: &'static str, unit: Unit, what: &'static str| {
            recorder.describe_histogram(KeyName::from_const_str(name), Some(unit), what.into());
            recorder.register_histogram(&Key::from_static_name(name), &METADATA)
        };
        recorder.describe_counter(
            KeyName::from_const_str(COMMANDS_TOTAL),
            None,
            "Commands handled, by kind and outcome.".into(),
        );
        recorder.describe_counter(
            KeyName::from_const_str(JOBS_ENDED_TOTAL),
            None,
            "Jobs ended, by outcome.".into(),
        );
        Self {
            commits: counter("embermesh_index_commits_total", "Transactions committed."),
            commit_failures: counter(
                "embermesh_index_commit_failures_total",
                "Transactions that failed.",
            ),
            commit_seconds: histogram(
                "embermesh_index_commit_seconds",
                Unit::Seconds,
                "Time of one transaction.",
            ),
            batch_commands: histogram(
                "embermesh_index_batch_commands",
                Unit::Count,
                "Commands answered by one transaction.",
            ),
            command_seconds: histogram(
                "embermesh_index_command_seconds",
                Unit::Seconds,
                "Time from a command's arrival to its answer.",
            ),
            jobs_queued: gauge("embermesh_index_jobs_queued", "Jobs that wait for a node."),
            jobs_assigned: gauge("embermesh_index_jobs_assigned", "Jobs that have a node."),
            nodes_live: gauge(
                "embermesh_index_nodes_live",
                "Registered nodes that are alive.",
            ),
            orders_dropped: counter(
                "embermesh_index_orders_dropped_total",
                "Orders that a node's stream could not take; they are sent again.",
            ),
            handle: recorder.handle(),
            recorder: Arc::new(recorder),
        }
    }

    /// The counter of commands of one kind and outcome.
    fn commands(&self, kind: &'static str, outcome: &'static str) -> Counter {
        let labels = vec![Label::new("kind", kind), Label::new("outcome", outcome)];
        let key = Key::from_parts(COMMANDS_TOTAL, labels);
        self.recorder.register_counter(&key, &METADATA)
    }

    /// Counts one job that ended.
    pub(crate) fn job_ended(&self, outcome: &'static str) {
        let labels = vec![Label::new("outcome", outcome)];
        self.recorder
            .register_counter(&Key::from_parts(JOBS_ENDED_TOTAL, labels), &METADATA)
            .increment(1);
    }

    /// The text that Prometheus scrapes.
    pub(crate) fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}

/// Counts commands, and looks each counter up only once. There are as many as
/// there are kinds and outcomes.
pub(crate) struct CommandCounts {
    metrics: Metrics,
    counters: BTreeMap<(&'static str, &'static str), Counter>,
}

impl CommandCounts {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            counters: BTreeMap::new(),
        }
    }

    /// Counts one command.
    pub(crate) fn count(&mut self, kind: &'static str, outcome: &'static str) {
        self.counters
            .entry((kind, outcome))
            .or_insert_with(|| self.metrics.commands(kind, outcome))
            .increment(1);
    }
}

const COMMANDS_TOTAL: &str = "embermesh_index_commands_total";
const JOBS_ENDED_TOTAL: &str = "embermesh_index_jobs_ended_total";

/// How often what was recorded is folded into its buckets, so that an index
/// that nobody scrapes does not hoard samples.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Serves `/metrics` until cancelled.
pub(crate) async fn serve(listener: TcpListener, metrics: Metrics, cancel: CancellationToken) {
    let shown = metrics.clone();
    let router = Router::new().route(
        "/metrics",
        routing::get(move || async move {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], shown.render()).into_response()
        }),
    );
    let upkeep = async {
        let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            interval.tick().await;
            metrics.handle.run_upkeep();
        }
    };
    let server =
        axum::serve(listener, router).with_graceful_shutdown(cancel.clone().cancelled_owned());
    tokio::select! {
        () = cancel.cancelled() => {}
        () = upkeep => {}
        served = async { server.await } => if let Err(error) = served {
            tracing::warn!(%error, "the metrics server ended");
        },
    }
}

/// The address that a listener was bound to, or none when it has gone.
pub(crate) fn local_address(listener: &TcpListener) -> Option<SocketAddr> {
    listener.local_addr().ok()
}
