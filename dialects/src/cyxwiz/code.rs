//! States, refusals, devices and amounts in the numbers of the wire.

use embermesh_crypto::{UnixMillis, statement::DeviceKind};
use embermesh_job::lifecycle::JobState;

use crate::{ErrorCode, Failure, Profile, port::accounts::Micros};

/// Done, in both forms.
pub(super) const SUCCESS: i32 = 1;
/// Micro-units in a unit.
const MICROS: f64 = 1e6;
/// The most micro-units that a double tells apart: 2^53.
const MAX_MICROS: f64 = 9_007_199_254_740_992.0;

/// The number of a state.
pub(super) const fn status(profile: Profile, state: JobState) -> i32 {
    match (profile, state) {
        (Profile::Documented, JobState::Queued) => 7,
        (Profile::Documented, JobState::Assigned) => 2,
        (Profile::Documented, JobState::Running | JobState::Paused)
        | (Profile::Shipped, JobState::Queued) => 3,
        (Profile::Documented, JobState::Succeeded)
        | (Profile::Shipped, JobState::Assigned | JobState::Running | JobState::Paused) => 4,
        (Profile::Documented, JobState::Failed) | (Profile::Shipped, JobState::Succeeded) => 5,
        (Profile::Documented, JobState::Cancelled) | (Profile::Shipped, JobState::Failed) => 6,
        (Profile::Shipped, JobState::Cancelled) => 7,
    }
}

/// The number of what was refused.
pub(super) const fn failed(profile: Profile) -> i32 {
    status(profile, JobState::Failed)
}

/// The states that a number means; none of them for 0, which leaves it open.
pub(super) fn states(profile: Profile, code: i32) -> Result<Vec<JobState>, Failure> {
    const ALL: [JobState; 7] = [
        JobState::Queued,
        JobState::Assigned,
        JobState::Running,
        JobState::Paused,
        JobState::Succeeded,
        JobState::Failed,
        JobState::Cancelled,
    ];
    let states: Vec<_> = ALL
        .into_iter()
        .filter(|state| status(profile, *state) == code)
        .collect();
    if code != 0 && states.is_empty() {
        return Err(Failure::invalid(format!(
            "filter_status: {code} is no state of a job"
        )));
    }
    Ok(states)
}

/// The code of the documented table of errors.
pub(super) const fn error(code: ErrorCode) -> i32 {
    match code {
        ErrorCode::Unimplemented => 0,
        ErrorCode::Invalid | ErrorCode::Precondition => 1,
        ErrorCode::NotFound => 2,
        ErrorCode::Exists => 3,
        ErrorCode::Denied | ErrorCode::Unauthenticated => 4,
        ErrorCode::Exhausted => 5,
        ErrorCode::Internal => 6,
        ErrorCode::Unavailable => 7,
    }
}

/// Whether a failure to take a job on is a refusal of the job, and so an answer.
pub(super) const fn is_answer(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Invalid | ErrorCode::Exists | ErrorCode::Exhausted | ErrorCode::Precondition
    )
}

/// The number of a backend.
pub(super) const fn device_type(profile: Profile, kind: DeviceKind) -> i32 {
    match (kind, profile) {
        (DeviceKind::Cpu, _) => 1,
        (DeviceKind::Cuda, _) => 2,
        // What wgpu drives is Vulkan, which the documented form has no number for.
        (DeviceKind::Wgpu, Profile::Documented) => 0,
        (DeviceKind::Wgpu, Profile::Shipped) => 5,
    }
}

/// The backend that a number asks for; nothing leaves it open.
pub(super) fn device(code: i32) -> Result<Option<DeviceKind>, String> {
    match code {
        0 => Ok(None),
        1 => Ok(Some(DeviceKind::Cpu)),
        2 => Ok(Some(DeviceKind::Cuda)),
        4 | 5 => Ok(Some(DeviceKind::Wgpu)),
        3 => Err("no node computes through OpenCL: ask for CUDA, Metal or any".to_owned()),
        other => Err(format!("{other} is no device")),
    }
}

/// A score that somebody says; 0 for what is none.
pub(super) fn score(said: f64) -> f64 {
    if said.is_finite() { said.max(0.0) } else { 0.0 }
}

/// Seconds since 1970; 0 for what has not happened.
pub(super) fn seconds(at: Option<UnixMillis>) -> i64 {
    at.map_or(0, |at| int64(at.0 / 1000))
}

/// A count as the wire has it; the largest there is for more.
pub(super) fn int64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count as the wire has it; the largest there is for more.
pub(super) fn int32(value: u64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Units as micro-units. Only what is a whole number of these, up to how a double
/// writes it, is an amount.
pub(super) fn micros(units: f64) -> Result<Micros, String> {
    if !units.is_finite() || units < 0.0 {
        return Err(format!("{units} is no amount"));
    }
    let micros = (units * MICROS).round();
    if micros > MAX_MICROS {
        return Err(format!("{units} is more than there is"));
    }
    if micros / MICROS != units {
        return Err(format!("{units} is no whole number of millionths"));
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, not negative, and at most 2^53"
    )]
    Ok(micros as Micros)
}

/// Micro-units as units.
#[allow(clippy::cast_precision_loss, reason = "the wire has doubles")]
pub(super) fn units(micros: Micros) -> f64 {
    micros as f64 / MICROS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_refused() {
        for (units, expected) in [
            (0.0, 0),
            (0.000_001, 1),
            (0.1, 100_000),
            (12.345_678, 12_345_678),
            (9_007_199_254.740_992, 9_007_199_254_740_992),
        ] {
            assert_eq!(micros(units), Ok(expected), "{units}");
        }
        for units in [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.1,
            1e-7,
            0.123_456_7,
            1e300,
        ] {
            assert!(micros(units).is_err(), "{units}");
        }
        for whole in [1, 999_999, 1_000_001, 123_456_789_012] {
            assert_eq!(micros(super::units(whole)), Ok(whole));
        }
    }

    #[test]
    fn every_state_is_found_by_its_number() {
        for profile in [Profile::Documented, Profile::Shipped] {
            for state in [
                JobState::Queued,
                JobState::Assigned,
                JobState::Running,
                JobState::Paused,
                JobState::Succeeded,
                JobState::Failed,
                JobState::Cancelled,
            ] {
                let found = states(profile, status(profile, state)).unwrap();
                assert!(found.contains(&state), "{state}");
            }
            assert!(states(profile, 0).unwrap().is_empty());
            assert!(states(profile, 1).is_err());
            assert!(states(profile, 8).is_err());
        }
    }
}
