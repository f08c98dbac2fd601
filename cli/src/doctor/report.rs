//! The report, for people and for programs.

use std::{fmt::Write as _, io::IsTerminal as _, time::Duration};

use serde_json::{Value, json};

use super::finding::{Finding, Part, State};

/// Letters of what others said that are shown in one line.
const MAX_TEXT: usize = 1000;

/// The findings as people read them, in the order of the parts.
pub(crate) fn text(findings: &[Finding], took: Duration, colours: bool) -> String {
    let mut text = String::new();
    for part in Part::ALL {
        let mut of_part = findings
            .iter()
            .filter(|found| found.part == part)
            .peekable();
        if of_part.peek().is_none() {
            continue;
        }
        let _ = writeln!(text, "{}", part.as_str());
        for found in of_part {
            let word = coloured(found.state, colours);
            let _ = writeln!(text, "  {word}  {}", clean(&found.text));
            if let Some(cure) = &found.cure {
                let _ = writeln!(text, "           cure: {}", clean(cure));
            }
        }
    }
    let troubles = troubles(findings);
    let end = match troubles {
        0 => "no trouble".to_owned(),
        1 => "1 trouble".to_owned(),
        many => format!("{many} troubles"),
    };
    let _ = write!(text, "\n{end}, found in {:.1} s", took.as_secs_f64());
    text
}

/// The same for programs.
pub(crate) fn value(findings: &[Finding], took: Duration) -> Value {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|found| found.part);
    let found: Vec<Value> = sorted.into_iter().map(one).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "healthy": troubles(findings) == 0,
        "troubles": troubles(findings),
        "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "findings": found,
    })
}

/// How many troubles there are.
pub(crate) fn troubles(findings: &[Finding]) -> usize {
    let mut troubles = findings.iter();
    let is_trouble = |found: &&Finding| found.state == State::Trouble;
    troubles.by_ref().filter(is_trouble).count()
}

/// Whether what people read has colours: at a terminal whose user has not said
/// otherwise (<https://no-color.org>).
pub(crate) fn has_colours() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn one(found: &Finding) -> Value {
    json!({
        "part": found.part.as_str(),
        "state": found.state.as_str(),
        "code": (!found.code.is_empty()).then_some(found.code),
        "text": clean(&found.text),
        "cure": found.cure.as_deref().map(clean),
    })
}

fn coloured(state: State, colours: bool) -> String {
    let word = format!("{:<7}", state.as_str());
    if !colours {
        return word;
    }
    let colour = match state {
        State::Ok => 32,
        State::Note => 36,
        State::Unknown => 33,
        State::Trouble => 31,
    };
    format!("\u{1b}[{colour}m{word}\u{1b}[0m")
}

/// A line that a stranger's words cannot break or paint.
fn clean(text: &str) -> String {
    let plain = text.replace(char::is_control, " ");
    plain.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::trouble(Part::Peers, "gone", "nobody\u{1b}[2J is there", "start one"),
            Finding::ok(Part::Identity, "the key is there"),
            Finding::unknown(Part::Nat, "nobody was asked"),
        ]
    }

    #[test]
    fn parts_are_told_in_their_order_and_each_trouble_has_its_cure() {
        let text = text(&findings(), Duration::from_millis(1500), false);
        assert_eq!(
            text,
            "identity\n  ok       the key is there\nnat\n  unknown  nobody was asked\npeers\n  trouble  nobody [2J is there\n           cure: start one\n\n1 trouble, found in 1.5 s"
        );
    }

    #[test]
    fn programs_get_words_that_stay() {
        let value = value(&findings(), Duration::from_millis(1500));
        assert_eq!(value["healthy"], false);
        assert_eq!(value["troubles"], 1);
        assert_eq!(value["findings"][0]["part"], "identity");
        assert_eq!(value["findings"][0]["code"], Value::Null);
        assert_eq!(value["findings"][2]["code"], "gone");
        assert_eq!(value["findings"][2]["cure"], "start one");
        let healthy = super::value(&findings()[1..], Duration::ZERO);
        assert_eq!(healthy["healthy"], true);
    }

    #[test]
    fn colours_paint_the_state_alone() {
        let painted = text(&findings(), Duration::ZERO, true);
        assert!(painted.contains("\u{1b}[31mtrouble\u{1b}[0m  nobody [2J"));
    }
}
