//! Meshes that join, spread adverts, leave, and are cut in two.

use std::time::Duration;

use embermesh_simulations::swarm::{
    Crowd, Scenario,
    scenario::{Churn, Idle, Join, Partition, Spread, What},
};

use crate::support::{run, small, value};

fn with(scenario: Scenario, what: What) -> Scenario {
    Scenario { what, ..scenario }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joiners_know_everybody_and_are_known() {
    let join = Join { joiners: 3 };
    let report = run(&with(small("join", 32, 101), What::Join(join))).await;
    assert!(value(&report, "joiner_max_s") > 0.0);
    assert!(value(&report, "connections_each") >= 3.0, "{report}");
    assert_eq!(report.charts.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_advert_costs_fewer_copies_than_by_stock_gossip() {
    let spread = Spread {
        messages: 6,
        every_ms: 20,
        stock_dials: 10,
    };
    let report = run(&with(small("spread", 48, 102), What::Spread(spread))).await;
    let ours = value(&report, "receives_per_delivery");
    let stock = value(&report, "stock_receives_per_delivery");
    // An advert goes from its author to all of its peers at once, which in so small a mesh
    // are nearly all others.
    assert!(ours >= 1.0 && ours < 0.75 * stock, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_stay_know_each_other_whoever_leaves() {
    let churn = Churn {
        percent_in_ten_minutes: 3_000.0,
        crash_percent: 30.0,
        span_s: 4,
    };
    let report = run(&with(small("churn", 30, 103), What::Churn(churn))).await;
    assert!(value(&report, "left") >= 4.0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_that_was_cut_in_two_is_whole_again() {
    let partition = Partition {
        cut_s: 2,
        resets: true,
    };
    let scenario = small("partition", 32, 104);
    let report = run(&with(scenario, What::Partition(partition))).await;
    assert_eq!(value(&report, "crossed_the_cut"), 0.0, "{report}");
    assert!(value(&report, "whole_after_heal_s") > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_is_felt_and_nothing_is_lost() {
    let spread = Spread {
        messages: 2,
        every_ms: 20,
        stock_dials: 6,
    };
    let scenario = Scenario {
        delay_ms: 150,
        ..with(small("spread", 12, 105), What::Spread(spread))
    };
    let report = run(&scenario).await;
    assert!(value(&report, "each_node_p50_s") >= 0.15, "{report}");
    assert!(value(&report, "stock_each_node_p50_s") >= 0.15, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_mesh_is_measured() {
    let idle = Idle { span_s: 1 };
    let report = run(&with(small("idle", 12, 106), What::Idle(idle))).await;
    assert!(value(&report, "kb_per_s_per_node") > 0.0, "{report}");
    assert!(value(&report, "connections_each") >= 3.0, "{report}");
}

/// Above any number of neighbours that a mesh keeps although it does not use them.
const FEW: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_nobody_uses_are_let_go() {
    let scenario = small("idle", 48, 107);
    let crowd = Crowd::settled(&scenario).await.unwrap();
    // One mesh is dialled by all, as a peer to join through is.
    let centre = crowd.members[0].clone();
    let address = centre.mesh.addresses().remove(0);
    for member in &crowd.members[1..] {
        member.mesh.dial(&address).await.unwrap();
    }
    assert!(centre.mesh.peers().len() > FEW);
    let let_go = async {
        while centre.mesh.peers().len() > FEW {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(scenario.patience(), let_go)
        .await
        .unwrap();
    // Nobody has lost the mesh by it.
    assert!(crowd.members.iter().all(|m| m.mesh.peers().len() >= 3));
    crowd.members[1].change(1).await.unwrap();
    let id = crowd.members[1].id();
    let heard = crowd.every(
        "a change being heard",
        std::time::Instant::now(),
        move |m| m.round_of(&id) == Some(1),
    );
    heard.await.unwrap();
    crowd.end().await;
}
