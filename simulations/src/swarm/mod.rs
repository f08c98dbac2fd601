//! Real swarms: many production meshes in one process, in real time, on a network in memory.
//!
//! - [`scenario`]: what is to happen, as a file says it.
//! - [`member`]: one mesh of the swarm; [`crowd`]: all of them, as they start, leave and wait.
//! - One file for each thing that is tried: `join`, `spread`, `churn`, `partition`, `sybils`,
//!   `flood`, `idle`. [`hostile`] makes the adverts of peers that do not keep to the rules.
//! - [`meter`]: what it costs this process. [`report`] is what came of it, `plot` draws it.
//!
//! A seed decides who does what. When it happens is up to the machine: the swarm shares its
//! cores, so that what needs processor time (a thousand joins at once, a million signatures)
//! takes longer here than on a thousand machines.

mod churn;
pub mod crowd;
mod flood;
pub mod hostile;
mod idle;
mod join;
pub mod member;
pub mod meter;
mod partition;
mod plot;
pub mod report;
pub mod scenario;
mod spread;
mod sybils;

pub use crowd::{Crowd, SwarmError};
pub use plot::{DrawError, draw};
pub use report::Report;
pub use scenario::Scenario;
use scenario::What;

/// Runs a scenario. Needs a multi-threaded tokio runtime.
///
/// # Errors
/// When a mesh cannot be started, or something does not happen within the scenario's
/// patience.
pub async fn run(scenario: &Scenario) -> Result<Report, SwarmError> {
    let mut report = Report::new(scenario);
    match &scenario.what {
        What::Join(join) => join::run(scenario, join, &mut report).await?,
        What::Spread(spread) => spread::run(scenario, spread, &mut report).await?,
        What::Churn(churn) => churn::run(scenario, churn, &mut report).await?,
        What::Partition(partition) => partition::run(scenario, partition, &mut report).await?,
        What::Sybils(sybils) => sybils::run(scenario, sybils, &mut report).await?,
        What::Flood(flood) => flood::run(scenario, flood, &mut report).await?,
        What::Idle(idle) => idle::run(scenario, idle, &mut report).await?,
    }
    Ok(report)
}
