//! The network is cut in two, every advert changes on both sides, and the cut heals.

use std::time::{Duration, Instant};

use super::{
    Crowd, SwarmError,
    member::Member,
    meter::{most, percentile},
    report::{Chart, Form, Limit, Report, thin},
    scenario::{Partition, Scenario},
};

/// The round of the adverts that change during the cut.
const ROUND: u32 = 1;

pub(super) async fn run(
    scenario: &Scenario,
    partition: &Partition,
    report: &mut Report,
) -> Result<(), SwarmError> {
    let crowd = Crowd::start(scenario).await?;
    crowd.whole(Instant::now()).await?;
    let began = Instant::now();
    // By turns: both sides have bootstrap peers.
    let (one, other): (Vec<_>, Vec<_>) = crowd
        .members
        .iter()
        .zip(0..)
        .partition(|(_, at)| at % 2 == 0);
    let ports = |side: &[(&Member, i32)]| -> Vec<u64> {
        side.iter().map(|(member, _)| member.port).collect()
    };
    crowd
        .fabric
        .part([&ports(&one)[..], &ports(&other)[..]], partition.resets);
    let least = one.len().min(other.len());
    for member in &crowd.members {
        member.change(ROUND).await?;
    }
    let within = crowd.every(
        "every change being known on its side",
        began,
        move |member| member.seen(ROUND) >= least,
    );
    let within = within.await?;
    report.measure("changes_known_on_their_side_s", most(&within));
    let cut = Duration::from_secs(partition.cut_s);
    tokio::time::sleep_until((began + cut).into()).await;
    let all = crowd.members.len();
    let crossed = crowd
        .members
        .iter()
        .filter(|m| m.seen(ROUND) == all)
        .count();
    report.measure("crossed_the_cut", crossed as f64);
    let healed = Instant::now();
    crowd.fabric.heal();
    let whole = crowd.all_have_seen(ROUND, healed).await?;
    report.measure("whole_after_heal_p50_s", percentile(&whole, 0.5));
    report.measure("whole_after_heal_s", most(&whole));
    chart(report, began, healed, &whole);
    crowd.end().await;
    Ok(())
}

/// The share of tables that were whole, as those times tell it.
fn chart(report: &mut Report, began: Instant, healed: Instant, whole: &[f64]) {
    let heal = (healed - began).as_secs_f64();
    let mut sorted = whole.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let after = sorted
        .iter()
        .zip(1u32..)
        .map(|(time, rank)| (heal + time, 100.0 * f64::from(rank) / count));
    let points = [(0.0, 0.0), (heal, 0.0)].into_iter().chain(after);
    let mut limits = vec![Limit {
        name: "healed".to_owned(),
        at: heal,
        upright: true,
    }];
    limits.extend(
        report
            .limit("whole_after_heal_s", "limit", true)
            .map(|limit| Limit {
                at: heal + limit.at,
                ..limit
            }),
    );
    report.chart(Chart {
        file: "partition",
        title: format!("{} meshes cut in two, and healed", report.nodes),
        x: "seconds after the cut",
        y: "tables that are whole, %",
        form: Form::Lines(vec![("whole tables".to_owned(), thin(points.collect()))]),
        limits,
    });
}
