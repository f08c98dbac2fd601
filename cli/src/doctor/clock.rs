//! How far this machine's clock is off, by what others' clocks show.

use std::time::Duration;

use embermesh_client::clock::Reading;
use embermesh_crypto::token::SKEW_S;

use super::finding::{Finding, Part};

/// By how much clocks may differ: beyond it tokens and adverts are refused.
const TOLERANCE: Duration = Duration::from_secs(SKEW_S);

/// What others' clocks mean for this machine's.
pub(crate) fn findings(readings: &[(String, Reading)]) -> Vec<Finding> {
    let Some(middle) = median(readings) else {
        return vec![Finding::unknown(
            Part::Clock,
            "nobody was reached who could tell the time",
        )];
    };
    let (off, right): (Vec<_>, Vec<_>) = readings
        .iter()
        .cloned()
        .partition(|(_, reading)| reading.is_off_by(TOLERANCE));
    // With as many that agree with this machine's as differ, nothing accuses it.
    if off.len() > right.len() {
        return vec![own(middle, readings.len())];
    }
    let middle = median(&right).unwrap_or(middle);
    let mut findings = vec![Finding::ok(
        Part::Clock,
        format!(
            "{} by {}; {} s are tolerated",
            apart(middle.ahead_ms),
            asked(readings.len()),
            TOLERANCE.as_secs()
        ),
    )];
    findings.extend(off.into_iter().map(|(who, reading)| {
        let way = if reading.ahead_ms > 0 { "fast" } else { "slow" };
        Finding::trouble(
            Part::Clock,
            "clock_of_another",
            format!("the clock of {who} is {} {way}", span(reading.ahead_ms)),
            "have its operator set it: `sudo timedatectl set-ntp true` there; until then it refuses this machine's tokens, or this machine its adverts",
        )
    }));
    findings
}

fn own(middle: Reading, many: usize) -> Finding {
    let way = if middle.ahead_ms > 0 { "slow" } else { "fast" };
    Finding::trouble(
        Part::Clock,
        "clock_off",
        format!(
            "this machine's clock is {} {way} (± {} ms), by {}; {} s are tolerated, so tokens and adverts are refused",
            span(middle.ahead_ms),
            middle.error_ms,
            asked(many),
            TOLERANCE.as_secs()
        ),
        set_clock(),
    )
}

/// How a clock is set on this system.
fn set_clock() -> &'static str {
    if cfg!(target_os = "macos") {
        "set it: `sudo sntp -sS time.apple.com`, and turn \"Set time automatically\" on in the settings"
    } else {
        "set it: `sudo timedatectl set-ntp true`, or with chrony `sudo chronyc makestep`; in a virtual machine or container set the host's"
    }
}

/// The reading in the middle.
fn median(readings: &[(String, Reading)]) -> Option<Reading> {
    let mut sorted: Vec<Reading> = readings.iter().map(|(_, reading)| *reading).collect();
    sorted.sort_by_key(|reading| reading.ahead_ms);
    sorted.get(sorted.len() / 2).copied()
}

fn asked(many: usize) -> String {
    match many {
        1 => "1 clock that was asked".to_owned(),
        many => format!("{many} clocks that were asked"),
    }
}

fn apart(ahead_ms: i64) -> String {
    match ahead_ms {
        0 => "this machine's clock is right".to_owned(),
        ms if ms > 0 => format!("this machine's clock is {} slow", span(ms)),
        ms => format!("this machine's clock is {} fast", span(ms)),
    }
}

fn span(ms: i64) -> String {
    let ms = ms.unsigned_abs();
    if ms < 1000 {
        return format!("{ms} ms");
    }
    let whole = Duration::from_secs(ms / 1000);
    humantime::format_duration(whole).to_string()
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    fn readings(ahead_s: &[i64]) -> Vec<(String, Reading)> {
        let one = |(number, ahead): (usize, &i64)| {
            let reading = Reading {
                ahead_ms: ahead * 1000,
                error_ms: 20,
            };
            (format!("peer {number}"), reading)
        };
        ahead_s.iter().enumerate().map(one).collect()
    }

    #[test]
    fn a_clock_that_is_off_is_told_by_how_much_and_which_way() {
        let slow = &findings(&readings(&[300]))[0];
        assert_eq!((slow.state, slow.code), (State::Trouble, "clock_off"));
        assert!(slow.text.contains("5m slow"), "{}", slow.text);
        assert!(slow.cure.as_ref().unwrap().contains("sudo"));
        let fast = &findings(&readings(&[-3601, -3601]))[0];
        assert!(fast.text.contains("1h 1s fast"), "{}", fast.text);
    }

    #[test]
    fn what_is_tolerated_is_no_trouble() {
        for ahead in [0, 29, -30] {
            let found = findings(&readings(&[ahead]));
            assert_eq!(found[0].state, State::Ok, "{ahead}: {found:?}");
        }
        assert_eq!(findings(&readings(&[31]))[0].state, State::Trouble);
        assert_eq!(findings(&readings(&[-31]))[0].state, State::Trouble);
    }

    #[test]
    fn one_wrong_clock_among_many_is_its_owner_s_to_set() {
        let found = findings(&readings(&[0, 600, 1]));
        assert_eq!(found[0].state, State::Ok);
        assert_eq!(found[1].code, "clock_of_another");
        assert!(
            found[1].text.contains("peer 1") && found[1].text.contains("10m fast"),
            "{found:?}"
        );
        // Where as many say one as the other, no more is known.
        let split = findings(&readings(&[0, 600]));
        assert!(split.iter().all(|found| found.code != "clock_off"));
        assert_eq!(split.len(), 2);
    }

    #[test]
    fn where_nobody_was_asked_nothing_is_said() {
        assert_eq!(findings(&[])[0].state, State::Unknown);
    }
}
