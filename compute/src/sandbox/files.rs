//! Landlock: the worker reads its inputs and writes its folder, nothing else.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    RestrictSelfAttr, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope,
};

use super::Needs;

/// The newest Landlock whose rights are asked for; an older kernel gets the
/// part that it knows.
const NEWEST: ABI = ABI::V7;

/// Folders that the C library and a CPU computation read at run time: the
/// processor's topology and the process's own status.
const SYSTEM_READ: [&str; 3] = ["/proc/self", "/sys/devices/system", "/proc/meminfo"];

/// What a GPU's driver reads beside that: its libraries, its settings, the
/// description of the device.
const DRIVER_READ: [&str; 8] = [
    "/usr", "/lib", "/lib64", "/etc", "/proc", "/sys", "/opt", "/run",
];

/// What a GPU's driver writes to: the device itself and its caches.
const DRIVER_WRITE: [&str; 3] = ["/dev", "/tmp", "/var/tmp"];

/// Restricts this thread and all that it will spawn, and says what was done.
pub(crate) fn restrict(needs: &Needs) -> String {
    match raise(needs) {
        Ok(word) => word,
        Err(error) => format!("absent: landlock refused the rules ({error})"),
    }
}

fn raise(needs: &Needs) -> Result<String, RulesetError> {
    let read = AccessFs::from_read(NEWEST) & !AccessFs::Execute;
    let all = AccessFs::from_all(NEWEST) & !AccessFs::Execute;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?;
    if !needs.driver {
        rules = rules
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::AbstractUnixSocket)?;
        // A script is outside of these fences; seccomp lets signals go to it alone.
        if needs.watches.is_none() {
            rules = rules.scope(Scope::Signal)?;
        }
    }
    let mut rules = rules.create()?;
    for path in &needs.read {
        rules = allow(rules, path, read)?;
    }
    rules = allow(rules, &needs.write, all)?;
    for path in SYSTEM_READ {
        rules = allow(rules, Path::new(path), read)?;
    }
    if needs.watches.is_some() {
        // What its processes take.
        rules = allow(rules, Path::new("/proc"), read)?;
    }
    if needs.driver {
        for path in DRIVER_READ {
            // A driver loads parts of itself late.
            rules = allow(rules, Path::new(path), AccessFs::from_read(NEWEST))?;
        }
        for path in DRIVER_WRITE {
            rules = allow(rules, Path::new(path), all)?;
        }
    }
    // A driver's threads are there already: a kernel that can restrict them
    // too does so.
    let status = rules.all_threads(needs.driver)?.restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => "landlock, in full".to_owned(),
        (RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) => {
            format!(
                "landlock in part: this kernel knows ABI {}",
                effective_abi as i32
            )
        }
        (RulesetStatus::PartiallyEnforced, _) => "landlock in part".to_owned(),
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
            "absent: landlock is not enabled; add it to the kernel's `lsm=` list".to_owned()
        }
        (RulesetStatus::NotEnforced, _) => {
            "absent: this kernel has no landlock; it needs Linux 5.13 or later".to_owned()
        }
    })
}

/// Adds a rule for a path that exists; one that does not needs no rule.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(at) = PathFd::new(path) else {
        return Ok(rules);
    };
    let access = if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(NEWEST)
    };
    rules.add_rule(PathBeneath::new(at, access))
}
