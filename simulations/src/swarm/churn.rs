//! Members leave, some with a word and some without, and others come.

use std::time::{Duration, Instant};

use embermesh_crypto::ids::PeerId;
use rand::{Rng as _, seq::IndexedRandom as _};

use super::{
    Crowd, SwarmError,
    member::Member,
    meter::most,
    report::{Chart, Form, Report, thin},
    scenario::{Churn, Scenario},
};

/// How often tables are looked at.
const SAMPLE: Duration = Duration::from_secs(1);
/// How many tables are looked at.
const SAMPLED: usize = 32;
/// What the rate of a scenario is for.
const TEN_MINUTES: f64 = 600.0;

/// Those that have left, by how.
#[derive(Default)]
struct Left {
    with_a_word: Vec<PeerId>,
    without: Vec<PeerId>,
}

/// What the tables that were looked at say, in hundredths of their entries.
struct Sample {
    at: f64,
    stale: f64,
    stale_after_goodbye: f64,
    missing: f64,
}

pub(super) async fn run(
    scenario: &Scenario,
    churn: &Churn,
    report: &mut Report,
) -> Result<(), SwarmError> {
    let mut crowd = Crowd::start(scenario).await?;
    crowd.whole(Instant::now()).await?;
    let rate = churn.percent_in_ten_minutes / 100.0 * scenario.nodes as f64 / TEN_MINUTES;
    let pause = Duration::from_secs_f64(1.0 / rate);
    let began = Instant::now();
    let end = began + Duration::from_secs(churn.span_s);
    let (mut next, mut look) = (began, began + SAMPLE);
    let mut left = Left::default();
    let mut samples = Vec::new();
    while next.min(look) < end {
        tokio::time::sleep_until(next.min(look).into()).await;
        if next <= look {
            next += pause;
            replace(&mut crowd, scenario.bootstrap, churn, &mut left).await?;
        } else {
            look += SAMPLE;
            samples.push(sample(&mut crowd, &left, began));
        }
    }
    tell(scenario, &left, &samples, report);
    let live: Vec<PeerId> = crowd.members.iter().map(Member::id).collect();
    let known = crowd.every(
        "everybody who stayed being known",
        Instant::now(),
        move |member| live.iter().all(|peer| member.counts_on(peer)),
    );
    report.measure("whole_after_churn_max_s", most(&known.await?));
    crowd.end().await;
    Ok(())
}

/// One leaves and another comes.
async fn replace(
    crowd: &mut Crowd,
    spared: usize,
    churn: &Churn,
    left: &mut Left,
) -> Result<(), SwarmError> {
    let gone = crowd.take(spared);
    if crowd.rng.random_bool(churn.crash_percent / 100.0) {
        left.without.push(gone.id());
        gone.crash(&crowd.fabric);
    } else {
        left.with_a_word.push(gone.id());
        tokio::spawn(async move { gone.mesh.shutdown().await });
    }
    crowd.add(1).await
}

fn sample(crowd: &mut Crowd, left: &Left, began: Instant) -> Sample {
    let chosen: Vec<Member> = crowd
        .members
        .choose_multiple(&mut crowd.rng, SAMPLED)
        .cloned()
        .collect();
    let counted = |peers: &[PeerId]| -> usize {
        let stale = |member: &Member| peers.iter().filter(|peer| member.counts_on(peer)).count();
        chosen.iter().map(stale).sum()
    };
    let (goodbye, crashed) = (counted(&left.with_a_word), counted(&left.without));
    let live: Vec<PeerId> = crowd.members.iter().map(Member::id).collect();
    let known = counted(&live);
    let entries = (known + goodbye + crashed).max(1) as f64;
    let missing = chosen.len() * live.len() - known;
    Sample {
        at: began.elapsed().as_secs_f64(),
        stale: 100.0 * (goodbye + crashed) as f64 / entries,
        stale_after_goodbye: 100.0 * goodbye as f64 / entries,
        missing: 100.0 * missing as f64 / (chosen.len() * live.len()) as f64,
    }
}

fn tell(scenario: &Scenario, left: &Left, samples: &[Sample], report: &mut Report) {
    let mean =
        |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / samples.len().max(1) as f64;
    let line = |of: fn(&Sample) -> f64| thin(samples.iter().map(|s| (s.at, of(s))).collect());
    report.measure("left", (left.with_a_word.len() + left.without.len()) as f64);
    report.measure("left_without_a_word", left.without.len() as f64);
    report.measure("stale_percent", mean(|sample| sample.stale));
    report.measure(
        "stale_after_goodbye_percent",
        mean(|s| s.stale_after_goodbye),
    );
    report.measure("missing_percent", mean(|sample| sample.missing));
    let limit = report.limit("stale_percent", "limit", false);
    report.chart(Chart {
        file: "churn",
        title: format!(
            "Tables of {} meshes while members leave and come",
            scenario.nodes
        ),
        x: "seconds",
        y: "% of the entries",
        form: Form::Lines(vec![
            ("stale".to_owned(), line(|sample| sample.stale)),
            (
                "stale although they said goodbye".to_owned(),
                line(|sample| sample.stale_after_goodbye),
            ),
            ("missing".to_owned(), line(|sample| sample.missing)),
        ]),
        limits: limit.into_iter().collect(),
    });
}
