//! `embermesh doctor`: looks at everything that a node or a client needs, side by side, and
//! says for each trouble what to do.
//!
//! - [`finding`]: one line of the report; [`report`]: all of them, for people and programs.
//! - [`patient`]: what is known beforehand.
//! - [`identity`], [`mod@ports`], [`mod@devices`]: this machine. [`index`], [`around`]: whom it
//!   reaches. Each gathers facts, and says by a pure function what they mean.
//! - [`reach`], [`nat`], [`clock`], [`peers`]: what the facts of `around` mean.

pub(crate) mod around;
pub(crate) mod clock;
pub(crate) mod devices;
pub(crate) mod finding;
pub(crate) mod identity;
pub(crate) mod index;
pub(crate) mod nat;
pub(crate) mod patient;
pub(crate) mod peers;
pub(crate) mod ports;
pub(crate) mod reach;
pub(crate) mod report;

use std::{future::Future, time::Duration};

use embermesh_crypto::PeerId;
use embermesh_mesh::Mesh;
use embermesh_node::{NodeConfig, checkup};
use futures::future::join_all;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

pub(crate) use self::patient::Setup;
use self::{
    around::Around,
    devices::Drivers,
    finding::{Finding, Part},
    identity::Folder,
    index::Looked,
    patient::{Patient, admit, plan},
};

/// How long the whole command may take, whatever is broken.
pub(crate) const WITHIN: Duration = Duration::from_secs(15);
/// How long looking may take of that; the rest is for what was begun to end.
const LOOK_TIME: Duration = Duration::from_secs(12);
/// How long devices may take, so that a driver that hangs is told by itself.
const DEVICE_TIME: Duration = Duration::from_secs(10);

const _: () = assert!(LOOK_TIME.as_secs() < WITHIN.as_secs());
const _: () = assert!(DEVICE_TIME.as_secs() < LOOK_TIME.as_secs());

/// Looks at everything, for [`LOOK_TIME`] at most.
///
/// # Errors
/// When this process can have no randomness.
pub(crate) async fn examine(setup: Setup) -> anyhow::Result<Vec<Finding>> {
    let until = Instant::now() + LOOK_TIME;
    let patient = admit(setup)?;
    let (told, tells) = watch::channel(None);
    let node_runs = async {
        let folder = patient.settings.node.data_dir.clone();
        // On its own thread: a folder of a server that is gone answers never.
        let looking = spawn_blocking(move || Folder::look(&folder));
        timeout_at(until, looking).await.ok().and_then(Result::ok)
    };
    let plan = plan(&patient, tells, until);
    let around = async {
        let plan = plan.await;
        match around::start(&plan, patient.asker.in_the_mesh()?).await {
            Ok(mesh) => {
                let looking = around::look(&mesh, plan, patient.asker.clone());
                let (around, ports) = tokio::join!(
                    Box::pin(looking),
                    Box::pin(bounded(Part::Ports, until, ports(&patient, Some(&mesh))))
                );
                anyhow::Ok((Some(around), ports, None))
            }
            Err(error) => {
                let ports = bounded(Part::Ports, until, ports(&patient, None)).await;
                Ok((None, ports, Some(error)))
            }
        }
    };
    let indexes = async {
        let addresses = patient.indexes();
        let looks = addresses
            .iter()
            .map(|address| Box::pin(index::look(address.clone(), patient.asker.clone())));
        let looked = timeout_at(until, join_all(looks)).await;
        let heard = looked.iter().flatten().flat_map(Looked::nodes);
        told.send_replace(Some(heard.collect()));
        looked.map_err(|_| addresses)
    };
    let machine = bounded(Part::Devices, until, devices(&patient.settings.node));
    let (folder, around, looked, machine) = tokio::join!(
        node_runs,
        Box::pin(around),
        Box::pin(indexes),
        Box::pin(machine)
    );
    let (around, ports, no_mesh) = around?;
    let mut findings = of_identity(&patient, folder.as_ref());
    findings.extend(ports);
    findings.extend(machine);
    let runs = folder.is_some_and(|folder| folder.in_use);
    findings.extend(of_indexes(&patient, &looked, runs));
    let mut clocks: Vec<_> = looked
        .iter()
        .flatten()
        .filter_map(Looked::reading)
        .collect();
    match around {
        Some(around) => {
            clocks.extend(around.clocks.iter().cloned());
            findings.extend(of_mesh(&around, patient.has_node));
        }
        None => findings.extend(no_mesh.map(|error| {
            Finding::trouble(
                Part::Peers,
                "no_mesh",
                format!("there can be no mesh here: {error}"),
                "let this user open TCP and UDP sockets, and try again",
            )
        })),
    }
    findings.extend(clock::findings(&clocks));
    Ok(findings)
}

/// What a configuration that cannot be read means. Nothing else is looked at but what
/// needs no settings: what the rest would be held to is not known.
pub(crate) async fn without_settings(error: &anyhow::Error) -> Vec<Finding> {
    let until = Instant::now() + LOOK_TIME;
    let mut findings = vec![Finding::trouble(
        Part::Identity,
        "settings",
        format!("the settings cannot be read: {error:#}"),
        "correct that line; `embermesh config example` prints a file with every setting",
    )];
    for part in [
        Part::Ports,
        Part::Nat,
        Part::Index,
        Part::Peers,
        Part::Clock,
    ] {
        let why = "not looked at: what to look for stands in the settings";
        findings.push(Finding::unknown(part, why));
    }
    let config = NodeConfig::default();
    findings.extend(bounded(Part::Devices, until, devices(&config)).await);
    findings
}

/// Runs a part until the time is up.
async fn bounded(
    part: Part,
    until: Instant,
    looking: impl Future<Output = Vec<Finding>>,
) -> Vec<Finding> {
    timeout_at(until, looking).await.unwrap_or_else(|_| {
        let text = format!("not known within {} s", LOOK_TIME.as_secs());
        vec![Finding::unknown(part, text)]
    })
}

fn of_identity(patient: &Patient, folder: Option<&Folder>) -> Vec<Finding> {
    let mut findings = vec![identity::key(&patient.user, patient.has_node)];
    findings.extend(patient.no_membership.as_deref().map(identity::network_key));
    if !patient.has_node {
        findings.push(Finding::note(
            Part::Identity,
            "no node is set up here: `node run` makes one, with the defaults",
        ));
        return findings;
    }
    findings.push(identity::key(&patient.node, true));
    findings.push(match folder {
        Some(folder) => identity::folder(folder),
        None => Finding::unknown(
            Part::Identity,
            format!(
                "the data folder {} did not answer within {} s",
                patient.settings.node.data_dir.display(),
                LOOK_TIME.as_secs()
            ),
        ),
    });
    if let Err(error) = patient.settings.node.validate() {
        findings.push(Finding::trouble(
            Part::Identity,
            "settings",
            format!("no node can run with these settings: {error}"),
            "correct that key under [node]; `embermesh config example` explains each",
        ));
    }
    findings
}

async fn ports(patient: &Patient, mesh: Option<&Mesh>) -> Vec<Finding> {
    let node = &patient.settings.node;
    if !patient.has_node {
        return vec![Finding::note(
            Part::Ports,
            "no node is set up here, so none is taken",
        )];
    }
    let wanted = ports::of(node);
    let held = wanted.iter().map(|port| async {
        let holder = ports::holder(port, patient.node.peer(), &patient.asker, mesh).await;
        ports::port(port, &holder)
    });
    let mut findings = join_all(held).await;
    if findings.is_empty() {
        findings.push(Finding::ok(
            Part::Ports,
            "the system chooses every port of the node (port 0), so none can be taken",
        ));
    }
    findings.extend(ports::reachable(node, &patient.others()));
    findings
}

async fn devices(config: &NodeConfig) -> Vec<Finding> {
    match checkup::look(config, DEVICE_TIME).await {
        Ok(checkup) => devices::findings(&checkup, &Drivers::look(), DEVICE_TIME.as_secs()),
        Err(error) => vec![Finding::trouble(
            Part::Devices,
            "no_worker",
            error.to_string(),
            "have `worker_command` under [node] name a program that there is, or leave it empty",
        )],
    }
}

fn of_indexes(
    patient: &Patient,
    looked: &Result<Vec<Looked>, Vec<String>>,
    runs: bool,
) -> Vec<Finding> {
    let node: Option<PeerId> = runs.then(|| patient.node.peer()).flatten();
    match looked {
        Err(addresses) => vec![Finding::unknown(
            Part::Index,
            format!(
                "{}: not known within {} s",
                addresses.join(", "),
                LOOK_TIME.as_secs()
            ),
        )],
        Ok(looked) if looked.is_empty() => {
            vec![Finding::note(
                Part::Index,
                "no index is looked at: the settings name none, or --no-index",
            )]
        }
        Ok(looked) => looked
            .iter()
            .flat_map(|one| {
                let registers = patient.settings.node.indexes.contains(&one.address);
                index::findings(one, node.as_ref().filter(|_| registers))
            })
            .collect(),
    }
}

fn of_mesh(around: &Around, is_node: bool) -> Vec<Finding> {
    let mut findings = reach::addresses(around);
    findings.extend(nat::findings(around));
    findings.extend(reach::relays(around, is_node));
    findings.extend(peers::findings(around));
    findings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// Where troubles are told.
    const SOURCES: [&str; 9] = [
        include_str!("mod.rs"),
        include_str!("clock.rs"),
        include_str!("devices.rs"),
        include_str!("identity.rs"),
        include_str!("index.rs"),
        include_str!("nat.rs"),
        include_str!("peers.rs"),
        include_str!("ports.rs"),
        include_str!("reach.rs"),
    ];

    /// The words of troubles stand on lines of their own, before the tests of a file.
    fn told() -> BTreeSet<&'static str> {
        let code = SOURCES.into_iter().flat_map(|source| {
            let code = source.split("#[cfg(test)]").next().unwrap_or_default();
            code.lines().map(str::trim)
        });
        let words = code.filter_map(|line| {
            let word = line.strip_prefix("let code = ").unwrap_or(line);
            let word = word.strip_prefix('"')?.trim_end_matches([',', ';']);
            word.strip_suffix('"')
        });
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let is_word = |word: &&str| !word.is_empty() && word.bytes().all(is_letter);
        words.filter(is_word).collect()
    }

    #[test]
    fn every_trouble_has_a_row_in_its_table() {
        let page = include_str!("../../../docs/doctor.md");
        let table = page.split("## Troubles and cures").nth(1).unwrap();
        let written: BTreeSet<&str> = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        let told = told();
        assert!(told.len() > 30, "{told:?}");
        assert_eq!(told, written);
    }
}
