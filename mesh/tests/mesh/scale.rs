//! More swarms than a test needs, and an idle one by itself: measurements, run by
//! hand with `cargo test --release -p embermesh-mesh --test mesh -- scale --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use crate::support::{Draft, WAIT, member, resident_kib, sees};

/// Seconds of processor time that this process has used.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

async fn measure_idle(what: &str, span: Duration) {
    let before = processor_seconds();
    tokio::time::sleep(span).await;
    let used = processor_seconds() - before;
    let share = 100.0 * used / span.as_secs_f64();
    println!(
        "{what}: {share:.2} % of one core idle, {} KiB resident",
        resident_kib()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for some seconds"]
async fn one_idle_swarm() {
    println!("before any swarm: {} KiB resident", resident_kib());
    let mesh = member(1, &[]).await;
    mesh.advertise(Draft::default().into()).await.unwrap();
    measure_idle("one swarm", Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for some seconds"]
async fn forty_swarms_know_each_other() {
    const SWARMS: u8 = 40;
    let began = Instant::now();
    let mut all = vec![member(1, &[]).await];
    for number in 2..=SWARMS {
        let mesh = member(number, &all[0].addresses()).await;
        mesh.advertise(Draft::default().into()).await.unwrap();
        all.push(mesh);
    }
    for mesh in &all {
        mesh.joined(WAIT).await.unwrap();
        for other in &all[1..] {
            sees(mesh, &other.peer_id()).await;
        }
    }
    println!(
        "{SWARMS} swarms know each other after {:?}",
        began.elapsed()
    );
    measure_idle("forty swarms, just joined", Duration::from_secs(10)).await;
    measure_idle("forty swarms, later", Duration::from_secs(20)).await;
    let connections: usize = all.iter().map(|mesh| mesh.peers().len()).sum();
    println!("{} connected peers each", connections / all.len());

    let began = Instant::now();
    all[7]
        .advertise(
            Draft {
                free_slots: 0,
                ..Draft::default()
            }
            .into(),
        )
        .await
        .unwrap();
    for mesh in &all {
        let mut changes = mesh.changes();
        while mesh.advert_of(&all[7].peer_id()).unwrap().free_slots != 0 {
            changes.changed().await.unwrap();
        }
    }
    println!("a change is known everywhere after {:?}", began.elapsed());

    let began = Instant::now();
    let joiner = member(SWARMS + 1, &all[3].addresses()).await;
    joiner.joined(WAIT).await.unwrap();
    for other in &all[1..] {
        sees(&joiner, &other.peer_id()).await;
    }
    println!("a joiner knows all of them after {:?}", began.elapsed());
}
