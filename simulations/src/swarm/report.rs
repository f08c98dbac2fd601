//! What came of a scenario: measures, each beside what was asked of it, and charts.

use std::fmt;

use serde::Serialize;

use super::scenario::Scenario;

/// Points of one line in a report: more than a plot shows.
const MAX_POINTS: usize = 200;

/// What came of a scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The scenario's title.
    pub title: String,
    /// What was tried.
    pub kind: &'static str,
    /// The seed that it ran by.
    pub seed: u64,
    /// Meshes at the start.
    pub nodes: usize,
    /// How long a byte took from one mesh to another.
    pub delay_ms: u64,
    /// Cores that all of them shared.
    pub cores: usize,
    /// What was measured.
    pub measures: Vec<Measure>,
    /// What there is to look at.
    pub charts: Vec<Chart>,
    #[serde(skip)]
    limits: std::collections::BTreeMap<String, f64>,
}

/// One number.
#[derive(Debug, Clone, Serialize)]
pub struct Measure {
    /// What it is; the unit comes last.
    pub name: String,
    /// How much.
    pub value: f64,
    /// What was asked: no more than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
}

/// Something to look at.
#[derive(Debug, Clone, Serialize)]
pub struct Chart {
    /// The name of its file, without an ending.
    pub file: &'static str,
    /// What it shows.
    pub title: String,
    /// What goes from left to right, with its unit.
    pub x: &'static str,
    /// What goes upwards, with its unit.
    pub y: &'static str,
    /// How it is drawn.
    pub form: Form,
    /// The limits, drawn as lines across.
    pub limits: Vec<Limit>,
}

/// How a chart is drawn.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Lines, each with its name and points.
    Lines(Vec<(String, Vec<(f64, f64)>)>),
    /// Bars, each with its name and height.
    Bars(Vec<(String, f64)>),
}

/// A line across a chart.
#[derive(Debug, Clone, Serialize)]
pub struct Limit {
    /// What it says.
    pub name: String,
    /// Where.
    pub at: f64,
    /// Upright, at a place on the axis from left to right; or else level.
    pub upright: bool,
}

impl Measure {
    /// Whether it is what was asked.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.at_most.is_none_or(|most| self.value <= most)
    }
}

impl Report {
    /// A report with nothing in it.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            title: scenario.title.clone(),
            kind: scenario.what.name(),
            seed: scenario.seed,
            nodes: scenario.nodes,
            delay_ms: scenario.delay_ms,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            measures: Vec::new(),
            charts: Vec::new(),
            limits: scenario.at_most.clone(),
        }
    }

    /// Adds a measure.
    pub fn measure(&mut self, name: &str, value: f64) {
        self.measures.push(Measure {
            name: name.to_owned(),
            value: (value * 1_000.0).round() / 1_000.0,
            at_most: self.limits.get(name).copied(),
        });
    }

    /// A measure by its name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        let found = self.measures.iter().find(|measure| measure.name == name);
        found.map(|measure| measure.value)
    }

    /// What was asked of a measure, as a line for a chart.
    #[must_use]
    pub fn limit(&self, name: &str, says: &str, upright: bool) -> Option<Limit> {
        self.limits.get(name).map(|at| Limit {
            name: says.to_owned(),
            at: *at,
            upright,
        })
    }

    /// Adds a chart.
    pub fn chart(&mut self, chart: Chart) {
        self.charts.push(chart);
    }

    /// Whether every measure is what was asked.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.measures.iter().all(Measure::holds)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        writeln!(
            f,
            "{}: {} meshes, seed {}, {} ms from one to another, {} cores\n",
            self.kind, self.nodes, self.seed, self.delay_ms, self.cores
        )?;
        for measure in &self.measures {
            write!(f, "{:<36} {:>12.3}", measure.name, measure.value)?;
            match measure.at_most {
                Some(most) if measure.holds() => writeln!(f, "   at most {most}: holds")?,
                Some(most) => writeln!(f, "   at most {most}: MISSED")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

/// The share of values that are at most x, in hundredths, as a line.
#[must_use]
pub fn share_until(values: &[f64]) -> Vec<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let ranks = sorted.into_iter().zip(1u32..);
    let points = ranks.map(|(value, rank)| (value, 100.0 * f64::from(rank) / count));
    thin(std::iter::once((0.0, 0.0)).chain(points).collect())
}

/// A line with as many of its points as a plot shows, the last among them.
#[must_use]
pub fn thin(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(MAX_POINTS).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points.into_iter().enumerate();
    kept.filter(|(at, _)| at % step == 0 || *at == last)
        .map(|(_, (x, y))| (round(x), round(y)))
        .collect()
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_thinned_and_keeps_its_ends() {
        let long: Vec<f64> = (1..=10_000).map(f64::from).collect();
        let line = share_until(&long);
        assert!(line.len() <= MAX_POINTS + 1);
        assert_eq!(line.first(), Some(&(0.0, 0.0)));
        assert_eq!(line.last(), Some(&(10_000.0, 100.0)));
    }
}
