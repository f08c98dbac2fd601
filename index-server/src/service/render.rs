//! From the state machine's words to the wire.

use embermesh_crypto::time::UnixMillis;
use embermesh_job::{
    ledger::Transaction,
    wire::{JobView, ReservationView},
};
use embermesh_proto::v1;

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
        charge: snapshot.charge,
    };
    view.into()
}

/// A page of jobs, which go without what only one job's page shows.
pub(super) fn page(jobs: impl Iterator<Item = JobSnapshot>, size: u32) -> v1::ListJobsResponse {
    let (jobs, more) = cut(jobs.map(job), size);
    let last = jobs.last().filter(|_| more);
    v1::ListJobsResponse {
        next_page_token: last.map(|job| job.id.clone()).unwrap_or_default(),
        jobs,
    }
}

/// A page of nodes.
pub(super) fn nodes(nodes: impl Iterator<Item = NodeEntry>, size: u32) -> v1::ListNodesResponse {
    let (nodes, more) = cut(nodes.map(node), size);
    let last = nodes.last().filter(|_| more);
    v1::ListNodesResponse {
        next_page_token: last
            .and_then(|node| Some(node.address.as_ref()?.peer_id.clone()))
            .unwrap_or_default(),
        nodes,
    }
}

/// A page of an account's history. A number is its token: what is older than it never
/// changes.
pub(super) fn history(
    transactions: impl Iterator<Item = Transaction>,
    size: u32,
) -> v1::HistoryResponse {
    let (transactions, more) = cut(transactions.map(v1::LedgerTransaction::from), size);
    let last = transactions.last().filter(|_| more);
    v1::HistoryResponse {
        next_page_token: last.map(|last| last.number.to_string()).unwrap_or_default(),
        transactions,
    }
}

/// A page of reservations, whose numbers are its tokens.
pub(super) fn reservations(
    found: impl Iterator<Item = ReservationView>,
    size: u32,
) -> v1::ListReservationsResponse {
    let (reservations, more) = cut(found.map(v1::Reservation::from), size);
    let last = reservations.last().filter(|_| more);
    v1::ListReservationsResponse {
        next_page_token: last.map(|last| last.id.to_string()).unwrap_or_default(),
        reservations,
    }
}

/// As many items as a page holds, in number and in bytes, and whether any is left
/// over. There is always one at least, so that a list comes to its end.
fn cut<T: prost::Message>(items: impl Iterator<Item = T>, size: u32) -> (Vec<T>, bool) {
    let mut page = Vec::new();
    let mut bytes = 0;
    for item in items {
        bytes += item.encoded_len();
        if page.len() >= size as usize || (bytes > PAGE_BYTES && !page.is_empty()) {
            return (page, true);
        }
        page.push(item);
    }
    (page, false)
}

pub(super) fn watched(assigned: Assigned) -> v1::WatchJobResponse {
    v1::WatchJobResponse {
        job: Some(job(assigned.job)),
        assignment: assigned.assignment.map(Into::into),
    }
}

fn node(entry: NodeEntry) -> v1::NodeInfo {
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use embermesh_crypto::keys::Keypair;
    use embermesh_job::address::PeerAddress;
    use prost::Message as _;

    use super::*;

    fn entry(n: u8) -> NodeEntry {
        NodeEntry {
            address: PeerAddress {
                peer: Keypair::from_seed(&[n; 32]).peer_id(),
                tls: Vec::new(),
                mesh: Vec::new(),
            },
            live: true,
            last_seen_ms: 1,
            advert: Bytes::from(vec![n; 100_000]),
            running: 0,
            registered: true,
        }
    }

    #[test]
    fn a_page_of_nodes_stays_below_what_a_client_takes_and_says_where_it_ended() {
        let page = nodes((0..100).map(entry), 500);
        assert!(page.encoded_len() <= PAGE_BYTES);
        assert!(page.nodes.len() > 20, "{}", page.nodes.len());
        let last = page.nodes.last().unwrap().address.as_ref().unwrap();
        assert_eq!(page.next_page_token, last.peer_id);
        let page = nodes((0..10).map(entry), 10);
        assert_eq!((page.nodes.len(), page.next_page_token.as_str()), (10, ""));
    }
}
