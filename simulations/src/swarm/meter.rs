//! What a swarm costs this process, and how numbers are summed up.

use std::time::Instant;

use embermesh_mesh::GossipTraffic;

use super::Crowd;

/// Ticks of a second in `/proc`: the same on every Linux that there is.
const TICKS_PER_SECOND: f64 = 100.0;
const MIB: f64 = 1024.0;

/// What this process had used at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    at: Instant,
    processor_s: f64,
    bytes: u64,
}

/// What was used between two moments.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// Time that has passed, in seconds.
    pub time_s: f64,
    /// Processor time of the whole process, in seconds.
    pub processor_s: f64,
    /// Bytes that went through the fabric.
    pub bytes: u64,
}

impl Usage {
    /// What was used until now.
    #[must_use]
    pub fn now(crowd: Option<&Crowd>) -> Self {
        Self {
            at: Instant::now(),
            processor_s: processor_s(),
            bytes: crowd.map_or(0, |crowd| crowd.fabric.bytes()),
        }
    }

    /// What was used since then.
    #[must_use]
    pub fn until_now(self, crowd: &Crowd) -> Used {
        Used {
            time_s: self.at.elapsed().as_secs_f64(),
            processor_s: processor_s() - self.processor_s,
            bytes: crowd.fabric.bytes() - self.bytes,
        }
    }
}

/// Processor time that this process has used, in seconds; zero where there is no `/proc`.
#[must_use]
pub fn processor_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(11).take(2);
    let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}

/// Resident memory of this process, in MiB; zero where there is no `/proc`.
#[must_use]
pub fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or_default() / MIB
}

/// What gossip has brought to all members together.
#[must_use]
pub fn traffic(crowd: &Crowd) -> GossipTraffic {
    let each = crowd.members.iter().map(|member| member.mesh.traffic());
    each.fold(GossipTraffic::default(), |sum, one| GossipTraffic {
        received: sum.received + one.received,
        received_bytes: sum.received_bytes + one.received_bytes,
        delivered: sum.delivered + one.delivered,
        accepted: sum.accepted + one.accepted,
    })
}

/// Connected peers of a member, on average.
#[must_use]
pub fn connections_each(crowd: &Crowd) -> f64 {
    let peers = crowd.members.iter().map(|member| member.mesh.peers().len());
    peers.sum::<usize>() as f64 / crowd.members.len() as f64
}

/// The value below which a share of all values lies, by the nearest rank; zero of none.
#[must_use]
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted
        .get(rank - 1)
        .or(sorted.last())
        .copied()
        .unwrap_or(0.0)
}

/// The largest value; zero of none.
#[must_use]
pub fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_the_nearest_rank() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), 50.0);
        assert_eq!(percentile(&values, 0.99), 99.0);
        assert_eq!(percentile(&values, 1.0), 100.0);
        assert_eq!(percentile(&[7.0], 0.01), 7.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
        assert_eq!(most(&values), 100.0);
    }
}
