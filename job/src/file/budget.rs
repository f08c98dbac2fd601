//! The budget of a job file: it belongs to the submission and not to the spec, so it is
//! taken out before the spec is read.

use serde::Deserialize;
use toml::Spanned;

use super::{Format, InvalidJobFile};
use crate::units::MicroUnits;

/// The key of the budget, beside those of the spec.
const KEY: &str = "budget";

/// A job file as far as it is looked at here.
#[derive(Deserialize)]
struct Beside {
    budget: Option<Spanned<MicroUnits>>,
}

/// The job file without its budget, and the budget. What is not understood is left to
/// whoever reads the rest.
///
/// # Errors
/// When the budget is no amount.
pub fn take_budget(
    text: &str,
    format: Format,
) -> Result<(String, Option<MicroUnits>), InvalidJobFile> {
    match format {
        Format::Toml => of_toml(text),
        Format::Json => of_json(text),
    }
}

/// Leaves blanks where the budget was, so that lines and columns stay what they are.
fn of_toml(text: &str) -> Result<(String, Option<MicroUnits>), InvalidJobFile> {
    let is_budget = |line: &str| line.trim_start().trim_start_matches('"').starts_with(KEY);
    if !text.lines().any(is_budget) {
        return Ok((text.to_owned(), None));
    }
    let beside: Beside = toml::from_str(text).map_err(|error| syntax(&error))?;
    let Some(budget) = beside.budget else {
        return Ok((text.to_owned(), None));
    };
    let span = budget.span();
    let line = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let blanks = " ".repeat(span.end - line);
    let rest = format!("{}{blanks}{}", &text[..line], &text[span.end..]);
    Ok((rest, Some(budget.into_inner())))
}

fn of_json(text: &str) -> Result<(String, Option<MicroUnits>), InvalidJobFile> {
    let whole = serde_json::from_str(text);
    let Ok(serde_json::Value::Object(mut fields)) = whole else {
        return Ok((text.to_owned(), None));
    };
    let Some(budget) = fields.remove(KEY) else {
        return Ok((text.to_owned(), None));
    };
    let budget = MicroUnits::deserialize(budget).map_err(|error| syntax(&error))?;
    let rest = serde_json::Value::Object(fields).to_string();
    Ok((rest, Some(budget)))
}

fn syntax(error: &impl ToString) -> InvalidJobFile {
    InvalidJobFile::Syntax {
        message: error.to_string().trim_end().to_owned(),
        hint: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_taken_out_and_the_rest_stays_where_it_was() {
        let toml = "name = \"a\"\n  budget = \"2.5\" # units\n[limits]\nwall = \"1h\"\n";
        let (rest, budget) = take_budget(toml, Format::Toml).unwrap();
        assert_eq!(budget, Some(MicroUnits(2_500_000)));
        assert!(!rest.contains(KEY), "{rest}");
        assert_eq!(rest.len(), toml.len());
        assert_eq!(rest.find("[limits]"), toml.find("[limits]"));
        let json = r#"{"budget":7,"name":"a"}"#;
        let (rest, budget) = take_budget(json, Format::Json).unwrap();
        assert_eq!(
            (rest.as_str(), budget),
            (r#"{"name":"a"}"#, Some(MicroUnits(7)))
        );
    }

    #[test]
    fn a_budget_elsewhere_is_none() {
        for (text, format) in [
            ("name = \"budget = 7\"\n", Format::Toml),
            ("[limits]\nbudget = 7\n", Format::Toml),
            (r#"{"limits":{"budget":7}}"#, Format::Json),
            ("budget is no TOML", Format::Json),
        ] {
            let (rest, budget) = take_budget(text, format).unwrap();
            assert_eq!((rest.as_str(), budget), (text, None));
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for (text, format) in [
            ("budget = \"much\"\n", Format::Toml),
            ("budget = -1\n", Format::Toml),
            (r#"{"budget":"much"}"#, Format::Json),
        ] {
            let refused = take_budget(text, format).unwrap_err();
            assert!(matches!(refused, InvalidJobFile::Syntax { .. }), "{text}");
        }
    }
}
