//! What the tests of swarms share.

use std::path::{Path, PathBuf};

use embermesh_simulations::swarm::{self, Report, Scenario};

/// The folder of the scenario files.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// A scenario by its name, in a small version. Seeds of tests are their own: ports are the
/// process's.
pub(crate) fn small(name: &str, nodes: usize, seed: u64) -> Scenario {
    let mut scenario = Scenario::read(&folder().join(name).with_extension("toml")).unwrap();
    scenario.nodes = nodes;
    scenario.bootstrap = 3;
    scenario.seed = seed;
    scenario.settle_s = 0;
    scenario.patience_s = 120;
    scenario
}

/// Runs a scenario to its end.
pub(crate) async fn run(scenario: &Scenario) -> Report {
    scenario.check().unwrap();
    let seed = scenario.seed;
    swarm::run(scenario)
        .await
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"))
}

/// A measure of a report.
pub(crate) fn value(report: &Report, name: &str) -> f64 {
    report
        .value(name)
        .unwrap_or_else(|| panic!("{name} is not in the report:\n{report}"))
}
