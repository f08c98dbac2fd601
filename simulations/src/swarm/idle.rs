//! Nothing happens but what always does: adverts are signed anew, neighbours are greeted.

use std::time::{Duration, Instant};

use super::{
    Crowd, SwarmError,
    meter::{self, Usage, most, percentile},
    report::{Chart, Form, Report},
    scenario::{Idle, Scenario},
};

/// Parts of the time, each with a point of its own in the chart.
const PARTS: u32 = 20;

pub(super) async fn run(
    scenario: &Scenario,
    idle: &Idle,
    report: &mut Report,
) -> Result<(), SwarmError> {
    let crowd = Crowd::start(scenario).await?;
    crowd.whole(Instant::now()).await?;
    tokio::time::sleep(Duration::from_secs(idle.settle_s)).await;
    let nodes = crowd.members.len() as f64;
    let part = Duration::from_secs(idle.span_s) / PARTS;
    let (whole, before) = (Usage::now(Some(&crowd)), meter::traffic(&crowd));
    let mut points = Vec::new();
    for number in 1..=PARTS {
        let usage = Usage::now(Some(&crowd));
        tokio::time::sleep(part).await;
        let used = usage.until_now(&crowd);
        let percent = 100.0 * used.processor_s / used.time_s / nodes;
        points.push(((part * number).as_secs_f64(), percent));
    }
    let used = whole.until_now(&crowd);
    let after = meter::traffic(&crowd);
    let percents: Vec<f64> = points.iter().map(|(_, percent)| *percent).collect();
    let delivered = (after.delivered - before.delivered) as f64;
    report.measure(
        "cpu_percent_per_node",
        100.0 * used.processor_s / used.time_s / nodes,
    );
    report.measure("cpu_percent_per_node_median", percentile(&percents, 0.5));
    report.measure("cpu_percent_per_node_max", most(&percents));
    report.measure(
        "kb_per_s_per_node",
        used.bytes as f64 / used.time_s / nodes / 1e3,
    );
    report.measure("adverts_per_s_per_node", delivered / used.time_s / nodes);
    report.measure(
        "receives_per_delivery",
        (after.received - before.received) as f64 / delivered.max(1.0),
    );
    report.measure("connections_each", meter::connections_each(&crowd));
    report.measure("mib_per_node", meter::resident_mib() / nodes);
    let limit = report.limit("cpu_percent_per_node", "limit", false);
    report.chart(Chart {
        file: "idle",
        title: format!("Processor time of an idle mesh of {}", scenario.nodes),
        x: "seconds",
        y: "% of one core, for each mesh",
        form: Form::Lines(vec![("processor time".to_owned(), points)]),
        limits: limit.into_iter().collect(),
    });
    crowd.end().await;
    Ok(())
}
