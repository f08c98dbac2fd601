//! From the state machine's words to the wire.

use bytes::Bytes;
use embermesh_crypto::time::UnixMillis;
use embermesh_job::wire::JobView;
use embermesh_proto::v1;
use prost::Message as _;

use crate::state::{Assigned, JobSnapshot, NodeEntry, Pulse, Welcome};

/// A page ends before it is this large, in bytes; a client takes 4 MiB.
const PAGE_BYTES: usize = 3 << 20;

pub(super) fn job(snapshot: JobSnapshot) -> v1::Job {
    let job = snapshot.job;
    let ended = job.state.is_final();
    let reason = if snapshot.reason.is_empty() {
        job.journal
            .last()
            .map(|entry| entry.reason.clone())
            .unwrap_or_default()
    } else {
        snapshot.reason
    };
    let view = JobView {
        id: job.id,
        owner: job.owner,
        state: job.state,
        spec_digest: job.spec_digest,
        epoch: job.epoch,
        node: job.attempts.last().map(|attempt| attempt.node),
        submitted_at: snapshot.submitted_at,
        updated_at: snapshot.updated_at,
        ended_at: ended.then_some(snapshot.updated_at),
        reason,
        passed_over: snapshot
            .passed_over
            .into_iter()
            .map(|passed| (passed.node, passed.code.to_owned(), passed.message))
            .collect(),
        spec: snapshot.spec.map(Vec::from).unwrap_or_default(),
        name: job.name,
        latest: job.latest,
        finished: job.finished,
        artifacts: job.artifacts,
        checkpoint: job.checkpoint,
        journal: job.journal,
    };
    view.into()
}

/// Jobs in a list go without what only one job's page shows.
pub(super) fn page(jobs: impl Iterator<Item = JobSnapshot>, size: u32) -> v1::ListJobsResponse {
    let mut page = v1::ListJobsResponse::default();
    let mut bytes = 0;
    for snapshot in jobs {
        let mut job = job(snapshot);
        job.spec = Bytes::new();
        job.journal = Vec::new();
        job.passed_over = Vec::new();
        bytes += job.encoded_len();
        let full =
            page.jobs.len() >= size as usize || (bytes > PAGE_BYTES && !page.jobs.is_empty());
        if full {
            page.next_page_token = page
                .jobs
                .last()
                .map(|last| last.id.clone())
                .unwrap_or_default();
            return page;
        }
        page.jobs.push(job);
    }
    page
}

pub(super) fn watched(assigned: Assigned) -> v1::WatchJobResponse {
    v1::WatchJobResponse {
        job: Some(job(assigned.job)),
        assignment: assigned.assignment.map(Into::into),
    }
}

pub(super) fn node(entry: NodeEntry) -> v1::NodeInfo {
    v1::NodeInfo {
        address: Some(entry.address.into()),
        live: entry.live,
        last_seen_ms: entry.last_seen_ms,
        advert: entry.advert,
        running: entry.running,
        source: if entry.registered {
            "registered"
        } else {
            "advert"
        }
        .to_owned(),
    }
}

pub(super) fn welcome(
    welcome: Welcome,
    mesh_addresses: Vec<String>,
    now: UnixMillis,
) -> v1::RegisterNodeResponse {
    v1::RegisterNodeResponse {
        key_set: welcome.key_set,
        heartbeat_interval_ms: welcome.heartbeat_interval_ms,
        lease_ms: welcome.lease_ms,
        index_time_ms: now.0,
        revocation: welcome.revocation.unwrap_or_default(),
        mesh_addresses,
    }
}

pub(super) fn pulse(pulse: Pulse, now: UnixMillis) -> v1::HeartbeatResponse {
    v1::HeartbeatResponse {
        index_time_ms: now.0,
        stop: pulse.stop.into_iter().map(Into::into).collect(),
        register: pulse.register,
        key_set_sequence: pulse.key_set_sequence,
        revocation_sequence: pulse.revocation_sequence,
    }
}
