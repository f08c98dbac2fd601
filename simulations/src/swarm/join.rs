//! All start at once, and then some more join the mesh that stands.

use std::time::{Duration, Instant};

use super::{
    Crowd, SwarmError,
    meter::{self, Usage, most, percentile},
    report::{Chart, Form, Report, share_until},
    scenario::{Join, Scenario},
};

pub(super) async fn run(
    scenario: &Scenario,
    join: &Join,
    report: &mut Report,
) -> Result<(), SwarmError> {
    let (usage, began) = (Usage::now(None), Instant::now());
    let mut crowd = Crowd::start(scenario).await?;
    report.measure("started_s", began.elapsed().as_secs_f64());
    let at_once = crowd.whole(began).await?;
    let used = usage.until_now(&crowd);
    let nodes = crowd.members.len() as f64;
    report.measure("all_at_once_p50_s", percentile(&at_once, 0.5));
    report.measure("all_at_once_max_s", most(&at_once));
    report.measure("all_at_once_cpu_s_per_node", used.processor_s / nodes);
    report.measure("all_at_once_kb_per_node", used.bytes as f64 / nodes / 1e3);
    report.measure("connections_each", meter::connections_each(&crowd));
    tokio::time::sleep(Duration::from_secs(join.settle_s)).await;
    report.measure("mib_per_node", meter::resident_mib() / nodes);

    let (joiners, known) = joiners(&mut crowd, join.joiners).await?;
    report.measure("joiner_p50_s", percentile(&joiners, 0.5));
    report.measure("joiner_p99_s", percentile(&joiners, 0.99));
    report.measure("joiner_max_s", most(&joiners));
    report.measure("joiner_known_everywhere_max_s", most(&known));
    let limit = report.limit("joiner_max_s", "limit", true);
    report.chart(Chart {
        file: "join",
        title: format!(
            "A cold join of a mesh of {}: until the whole table is known",
            scenario.nodes
        ),
        x: "seconds after its start",
        y: "share, %",
        form: Form::Lines(vec![
            (
                "joiners that know everybody".to_owned(),
                share_until(&joiners),
            ),
            (
                "peers that know the joiner, slowest of each join".to_owned(),
                share_until(&known),
            ),
        ]),
        limits: limit.into_iter().collect(),
    });
    report.chart(Chart {
        file: "all-at-once",
        title: format!(
            "{} meshes started at once on {} cores",
            scenario.nodes, report.cores
        ),
        x: "seconds after the first start",
        y: "meshes that know everybody, %",
        form: Form::Lines(vec![("all at once".to_owned(), share_until(&at_once))]),
        limits: Vec::new(),
    });
    crowd.end().await;
    Ok(())
}

/// How long each joiner took to know everybody, and everybody to know it.
async fn joiners(crowd: &mut Crowd, count: usize) -> Result<(Vec<f64>, Vec<f64>), SwarmError> {
    let (mut times, mut known) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let began = Instant::now();
        crowd.add(1).await?;
        let all = crowd.members.len();
        let Some(joiner) = crowd.members.last().cloned() else {
            break;
        };
        let whole = crowd.one("a joiner knowing everybody", &joiner, |joiner| {
            joiner.seen(0) >= all
        });
        whole.await?;
        times.push(began.elapsed().as_secs_f64());
        let id = joiner.id();
        let by_all = crowd.every("everybody knowing a joiner", began, move |member| {
            member.counts_on(&id)
        });
        known.push(most(&by_all.await?));
    }
    Ok((times, known))
}
