//! Proofs in three phases: barriers, gangs, rounds that are dealt again.

use embermesh_proto::zisk::{
    JobsListRequest, StatusInfoRequest, SystemStatusRequest, execute_task_request::Params,
    execute_task_response::ResultData, jobs_list_response, system_status_response,
};

use crate::support::{Coordinator, Duration, Prover, result, settings};

/// Three provers of two units each.
async fn three(coordinator: &Coordinator) -> [Prover; 3] {
    [
        coordinator.prover("p0", 2).await,
        coordinator.prover("p1", 2).await,
        coordinator.prover("p2", 2).await,
    ]
}

async fn listed(coordinator: &Coordinator, active_only: bool) -> Vec<String> {
    let request = JobsListRequest { active_only };
    let answer = coordinator.client().await.jobs_list(request).await.unwrap();
    match answer.into_inner().result.unwrap() {
        jobs_list_response::Result::JobsList(list) => {
            list.jobs.into_iter().map(|job| job.job_id).collect()
        }
        jobs_list_response::Result::Error(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn three_provers_make_a_proof_with_a_barrier_between_the_phases() {
    let coordinator = Coordinator::start(settings()).await;
    let [mut first, mut second, mut third] = three(&coordinator).await;
    let id = coordinator.launch(6).await;
    let mut tasks = Vec::new();
    for prover in [&mut first, &mut second, &mut third] {
        tasks.push(prover.task().await);
    }
    let mut units: Vec<u32> = Vec::new();
    for (rank, task) in (0..).zip(&tasks) {
        assert_eq!(task.job_id, id);
        let Some(Params::ContributionParams(params)) = &task.params else {
            panic!("{task:?}");
        };
        assert_eq!((params.rank_id, params.total_provers), (rank, 3));
        assert_eq!(
            (&*params.block_id, params.job_compute_units),
            ("block-7", 6)
        );
        units.extend(&params.worker_allocation);
    }
    // One unit to each in turn.
    assert_eq!(units, [0, 3, 1, 4, 2, 5]);
    let job = coordinator.job(&id).await;
    assert_eq!(
        (&*job.state, &*job.phase),
        ("Running (Contributions)", "Contributions")
    );
    assert_eq!(job.assigned_provers, ["p0", "p1", "p2"]);
    assert!(job.start_time > 1_600_000_000 && job.final_proof.is_none());
    let states = |provers: Vec<embermesh_proto::zisk::ProverInfo>| {
        provers
            .into_iter()
            .map(|prover| prover.state)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        states(coordinator.provers(false).await),
        ["Computing(Contributions)"; 3]
    );
    assert!(coordinator.provers(true).await.is_empty());
    first.answer(&tasks[0], Some(result(&tasks[0]))).await;
    second.answer(&tasks[1], Some(result(&tasks[1]))).await;
    // Nobody proves before all have contributed, and then each with what all gave.
    third.answer(&tasks[2], Some(result(&tasks[2]))).await;
    for prover in [&mut first, &mut second, &mut third] {
        let task = prover.task().await;
        let Some(Params::ProveParams(params)) = &task.params else {
            panic!("{task:?}");
        };
        let challenges = params.challenges.iter();
        let said: Vec<_> = challenges
            .map(|challenge| (challenge.worker_index, challenge.challenge.clone()))
            .collect();
        assert_eq!(said, [(0, vec![3]), (1, vec![5]), (2, vec![7])]);
        if prover.id != "p1" {
            prover.answer(&task, Some(result(&task))).await;
        } else {
            // The last to prove.
            tasks[1] = task;
        }
    }
    assert_eq!(
        coordinator.state(&id, "Running (Prove)").await.phase,
        "Prove"
    );
    second.answer(&tasks[1], Some(result(&tasks[1]))).await;
    // One of those that were done before the last aggregates.
    let (of_first, of_third) = (first.next(), third.next());
    let aggregator = tokio::select! {
        told = of_first => (told, true),
        told = of_third => (told, false),
    };
    let (Some(told), is_first) = aggregator else {
        panic!("nobody aggregates");
    };
    let aggregator = if is_first { &mut first } else { &mut third };
    finish(aggregator, told, 3).await;
    let job = coordinator.state(&id, "Completed").await;
    assert_eq!((&*job.phase, &*job.message), ("None", ""));
    // Two others proved the sum of all units.
    assert_eq!(job.final_proof.unwrap().values, [2 * 15]);
    coordinator.free(3).await;
    assert_eq!(listed(&coordinator, false).await, [id]);
    assert!(listed(&coordinator, true).await.is_empty());
}

/// Aggregates, when the first of the tasks was heard already.
async fn finish(
    prover: &mut Prover,
    told: embermesh_proto::zisk::coordinator_message::Payload,
    gang: usize,
) {
    use embermesh_proto::zisk::{FinalProof, FinalProofList, coordinator_message::Payload as Told};
    let Told::ExecuteTask(mut task) = told else {
        panic!("{told:?}");
    };
    let mut sum = 0;
    for number in 1..=gang {
        if number > 1 {
            task = prover.task().await;
        }
        let Some(Params::AggParams(params)) = &task.params else {
            panic!("{task:?}");
        };
        assert_eq!(params.last_proof, number == gang);
        let proofs = &params.agg_proofs.as_ref().unwrap().proofs;
        sum += proofs.iter().flat_map(|proof| &proof.values).sum::<u64>();
    }
    let list = FinalProofList {
        final_proofs: vec![FinalProof { values: vec![sum] }],
    };
    prover
        .answer(&task, Some(ResultData::FinalProof(list)))
        .await;
}

#[tokio::test]
async fn a_gang_is_taken_whole_or_not_at_all() {
    let coordinator = Coordinator::start(settings()).await;
    let refused = coordinator.try_launch(1).await;
    assert_eq!(refused.unwrap_err(), "PROVER_UNAVAILABLE");
    let provers = three(&coordinator).await;
    let refused = coordinator.try_launch(7).await;
    assert_eq!(refused.unwrap_err(), "PROVER_UNAVAILABLE");
    // None of them was taken, and no job is left of it.
    assert_eq!(coordinator.provers(true).await.len(), 3);
    assert!(listed(&coordinator, false).await.is_empty());
    // Of many who ask at once, only one has them.
    let asked = (0..8).map(|_| coordinator.try_launch(6));
    let answers = futures::future::join_all(asked).await;
    let taken: Vec<_> = answers.into_iter().flatten().collect();
    assert_eq!(taken.len(), 1, "{taken:?}");
    for mut prover in provers {
        assert_eq!(prover.task().await.job_id, taken[0]);
    }
}

#[tokio::test]
async fn two_proofs_side_by_side_share_nobody() {
    let coordinator = Coordinator::start(settings()).await;
    let mut provers = Vec::new();
    for id in ["a", "b", "c", "d"] {
        provers.push(coordinator.prover(id, 1).await);
    }
    let jobs = [coordinator.launch(2).await, coordinator.launch(2).await];
    let third = coordinator.try_launch(1).await;
    assert_eq!(third.unwrap_err(), "PROVER_UNAVAILABLE");
    assert_eq!(coordinator.job(&jobs[0]).await.assigned_provers, ["a", "b"]);
    assert_eq!(coordinator.job(&jobs[1]).await.assigned_provers, ["c", "d"]);
    let mut client = coordinator.client().await;
    let status = client.system_status(SystemStatusRequest {}).await;
    let status = match status.unwrap().into_inner().result.unwrap() {
        system_status_response::Result::Status(status) => status,
        system_status_response::Result::Error(error) => panic!("{error:?}"),
    };
    assert_eq!((status.total_provers, status.compute_capacity), (4, 4));
    assert_eq!((status.idle_provers, status.busy_provers), (0, 4));
    assert_eq!(status.active_jobs, 2);
    for prover in &mut provers {
        prover.work().await;
    }
    // The first of each gang to prove aggregates.
    for place in [0, 2, 1, 3] {
        provers[place].work().await;
    }
    for place in [0, 2] {
        provers[place].aggregate(2).await;
    }
    for job in &jobs {
        let job = coordinator.state(job, "Completed").await;
        assert_eq!(job.final_proof.unwrap().values, [1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_proofs_that_are_asked_for_at_once_none_shares_a_prover() {
    let coordinator = Coordinator::start(settings()).await;
    let mut provers = Vec::new();
    for id in ["a", "b", "c", "d", "e", "f"] {
        provers.push(coordinator.prover(id, 1).await);
    }
    // Room for three of two units each.
    let asked = (0..10).map(|_| coordinator.try_launch(2));
    let answers = futures::future::join_all(asked).await;
    let mut busy = Vec::new();
    for answer in &answers {
        match answer {
            Ok(job) => busy.extend(coordinator.job(job).await.assigned_provers),
            Err(code) => assert_eq!(code, "PROVER_UNAVAILABLE"),
        }
    }
    busy.sort();
    assert_eq!(busy, ["a", "b", "c", "d", "e", "f"]);
}

#[tokio::test]
async fn the_death_of_a_prover_deals_the_round_again_among_the_others() {
    let coordinator = Coordinator::start(settings()).await;
    let [first, mut second, mut third] = three(&coordinator).await;
    let id = coordinator.launch(4).await;
    let early = second.work().await;
    assert!(third_is_free(&coordinator).await);
    drop(first);
    // The other is told to leave the round, and both are in the next.
    assert_eq!(second.cancelled().await, id);
    let again = second.task().await;
    assert_ne!(again.job_id, id);
    assert!(again.job_id.starts_with(&id), "{}", again.job_id);
    let job = coordinator.job(&id).await;
    assert_eq!(job.assigned_provers, ["p1", "p2"]);
    assert!(job.message.contains("p0"), "{}", job.message);
    // What is still said of the round before is not heard.
    second.answer(&early, Some(result(&early))).await;
    third.work().await;
    second.answer(&again, Some(result(&again))).await;
    second.work().await;
    third.work().await;
    second.aggregate(2).await;
    let job = coordinator.state(&id, "Completed").await;
    assert_eq!(job.final_proof.unwrap().values, [6]);
}

async fn third_is_free(coordinator: &Coordinator) -> bool {
    let free = coordinator.provers(true).await;
    free.len() == 1 && free[0].prover_id == "p2"
}

#[tokio::test]
async fn a_dead_aggregator_hands_on() {
    let coordinator = Coordinator::start(settings()).await;
    let [mut first, mut second, _third] = three(&coordinator).await;
    let id = coordinator.launch(4).await;
    first.work().await;
    second.work().await;
    first.work().await;
    second.work().await;
    coordinator.state(&id, "Running (Aggregate)").await;
    first.task().await;
    drop(first);
    // The same round: nobody proves again.
    second.aggregate(2).await;
    let job = coordinator.state(&id, "Completed").await;
    assert_eq!(job.final_proof.unwrap().values, [6]);
    assert_eq!(job.assigned_provers, ["p0", "p1"]);
}

#[tokio::test]
async fn without_others_a_proof_waits_and_then_fails_plainly() {
    let short = embermesh_gateway::ProvingSettings {
        deal_wait: Duration::from_millis(50),
        ..settings()
    };
    let coordinator = Coordinator::start(short).await;
    let only = coordinator.prover("p0", 2).await;
    let id = coordinator.launch(2).await;
    drop(only);
    let job = coordinator.state(&id, "Failed").await;
    assert!(job.message.contains("no gang"), "{}", job.message);
    assert_eq!(job.phase, "None");
}

#[tokio::test]
async fn a_phase_without_an_answer_ends_and_its_prover_is_not_asked_again() {
    let short = embermesh_gateway::ProvingSettings {
        phase: Duration::from_millis(100),
        ..settings()
    };
    let coordinator = Coordinator::start(short).await;
    let mut slow = coordinator.prover("slow", 3).await;
    let mut quick = coordinator.prover("quick", 2).await;
    let id = coordinator.launch(2).await;
    slow.task().await;
    assert_eq!(slow.cancelled().await, id);
    quick.work().await;
    quick.work().await;
    assert_eq!(coordinator.job(&id).await.assigned_provers, ["quick"]);
}

#[tokio::test]
async fn the_owner_ends_a_proof_and_its_provers_are_free() {
    let coordinator = Coordinator::start(settings()).await;
    let [mut first, ..] = three(&coordinator).await;
    let id = coordinator.launch(2).await;
    first.task().await;
    let job = coordinator.cancel(&id).await.unwrap();
    assert_eq!(job.state, "Failed");
    assert!(job.message.contains("cancelled"), "{}", job.message);
    assert_eq!(first.cancelled().await, id);
    coordinator.free(1).await;
    let again = coordinator.cancel(&id).await.unwrap_err();
    assert_eq!(again, "FAILED_PRECONDITION");
}

#[tokio::test]
async fn a_restart_goes_on_with_the_provers_that_come_back() {
    let coordinator = Coordinator::start(settings()).await;
    let mut only = coordinator.prover("p0", 2).await;
    let done = coordinator.launch(2).await;
    only.work().await;
    only.work().await;
    let task = only.task().await;
    let list = embermesh_proto::zisk::FinalProofList {
        final_proofs: vec![embermesh_proto::zisk::FinalProof { values: vec![9] }],
    };
    only.answer(&task, Some(ResultData::FinalProof(list.clone())))
        .await;
    coordinator.state(&done, "Completed").await;
    let open = coordinator.launch(2).await;
    only.work().await;
    let mut client = coordinator.client().await;
    let info = client.status_info(StatusInfoRequest {}).await.unwrap();
    let here = info.into_inner().metrics.unwrap().active_connections;
    assert_eq!(here, 1);

    let coordinator = coordinator.restart(settings()).await;
    let job = coordinator.job(&open).await;
    assert_eq!((&*job.state, &*job.phase), ("Created", "None"));
    assert!(job.message.contains("started again"), "{}", job.message);
    assert_eq!(
        coordinator.job(&done).await.final_proof.unwrap().values,
        [9]
    );
    let mut only = coordinator.prover_again("p0", 2, &open).await;
    // What it still did is of no use; the next round is.
    assert_eq!(only.cancelled().await, open);
    let again = only.work().await;
    assert!(again.job_id.starts_with(&open) && again.job_id != open);
    only.work().await;
    let task = only.task().await;
    only.answer(&task, Some(ResultData::FinalProof(list))).await;
    let job = coordinator.state(&open, "Completed").await;
    assert_eq!(job.final_proof.unwrap().values, [9]);
    assert_eq!(listed(&coordinator, false).await, [open, done]);
}
