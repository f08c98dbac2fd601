//! Gangs, and the three phases over them.

use super::{
    super::{
        gang::{Gang, MAX_CAPACITY, MAX_GANG, NoGang, Worker},
        proving::{self, Phase, Proving, Terms},
        run::Input as TaskInput,
    },
    *,
};

fn worker(name: &str, capacity: u32) -> Worker {
    Worker {
        name: node(name),
        capacity,
    }
}

fn row(word: u64) -> Vec<Row> {
    vec![Row {
        group: 1,
        words: vec![word],
    }]
}

const TERMS: Terms = Terms {
    units: 5,
    rounds: 2,
    deal_wait: Duration::from_secs(30),
    lease: Duration::from_secs(10),
    phase: Duration::from_secs(60),
    round: Duration::from_secs(300),
};

#[test]
fn units_are_dealt_in_turn_to_as_few_as_can_take_them() {
    let free = [
        worker("c", 1),
        worker("b", 2),
        worker("a", 3),
        worker("z", 0),
    ];
    let dealt = |units| {
        let gang = Gang::deal(&free, units).unwrap();
        let members = gang.members().iter();
        members
            .map(|member| (member.name.as_str().to_owned(), member.units.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(dealt(3), [("a".to_owned(), vec![0, 1, 2])]);
    assert_eq!(
        dealt(5),
        [
            ("a".to_owned(), vec![0, 2, 4]),
            ("b".to_owned(), vec![1, 3])
        ]
    );
    assert_eq!(dealt(6).len(), 3);
    let refused = Gang::deal(&free, 7).unwrap_err();
    assert_eq!(refused, NoGang::TooSmall { units: 7, room: 6 });
    assert_eq!(Gang::deal(&free, 0), Err(NoGang::Units(0)));
    // A claim without bounds is worth a bounded part, and a name counts once.
    let boast = [worker("a", u32::MAX), worker("a", 9)];
    let room = Gang::deal(&boast, MAX_CAPACITY + 1).unwrap_err();
    let wants = NoGang::TooSmall {
        units: MAX_CAPACITY + 1,
        room: u64::from(MAX_CAPACITY),
    };
    assert_eq!(room, wants);
    let many: Vec<_> = (0..200).map(|n| worker(&format!("w{n:03}"), 1)).collect();
    let most = u32::try_from(MAX_GANG).unwrap();
    assert_eq!(Gang::deal(&many, most).unwrap().members().len(), MAX_GANG);
    assert!(Gang::deal(&many, most + 1).is_err());
    // A gang of the largest size has a plan.
    let terms = Terms {
        units: most,
        ..TERMS
    };
    let (mut proving, _) = Proving::start(terms, NOW).unwrap();
    let gang = proving::Input::Gang(Gang::deal(&many, most).unwrap());
    proving.handle(gang, NOW).unwrap();
    assert_eq!(proving.phase(), Some(Phase::Contribute));
}

/// Begins with two workers, `a` of 3 units and `b` of 2.
fn begun() -> Proving {
    let (mut proving, first) = Proving::start(TERMS, NOW).unwrap();
    assert!(matches!(
        &first[..],
        [proving::Output::Deal { units: 5, .. }]
    ));
    let gang = Gang::deal(&[worker("a", 3), worker("b", 2)], 5).unwrap();
    let outputs = proving.handle(proving::Input::Gang(gang), NOW).unwrap();
    assert_eq!(tasks(&outputs), [(0, 1), (1, 1)]);
    proving
}

fn tasks(outputs: &[proving::Output]) -> Vec<(u32, u64)> {
    let tasks = outputs.iter().filter_map(|output| match output {
        proving::Output::Task(task) => Some(task.clone()),
        _ => None,
    });
    starts(&tasks.collect::<Vec<_>>())
}

fn give(proving: &mut Proving, task: u32, epoch: u64, rows: Vec<Row>) -> Vec<proving::Output> {
    let input = TaskInput::Done {
        task: TaskIndex(task),
        epoch: Epoch(epoch),
        value: Value::Rows(rows),
        samples: None,
    };
    proving.handle(proving::Input::Task(input), NOW).unwrap()
}

fn lose(proving: &mut Proving, name: &str) -> Vec<proving::Output> {
    let input = TaskInput::Lost { node: node(name) };
    proving.handle(proving::Input::Task(input), NOW).unwrap()
}

#[test]
fn three_phases_with_a_barrier_between_them() {
    let mut proving = begun();
    assert!(give(&mut proving, 1, 1, row(11)).is_empty());
    let outputs = give(&mut proving, 0, 1, row(10));
    assert_eq!(tasks(&outputs), [(2, 1), (3, 1)]);
    let (_, run) = proving.running().unwrap();
    // The challenge is the contributions of all, by rank.
    let words: Vec<_> = run
        .inputs(TaskIndex(2))
        .into_iter()
        .map(|(_, value)| value.clone())
        .collect();
    assert_eq!(words, [Value::Rows(row(10)), Value::Rows(row(11))]);
    assert_eq!(proving.phase(), Some(Phase::Prove));
    assert!(give(&mut proving, 3, 1, row(21)).is_empty());
    let outputs = give(&mut proving, 2, 1, row(20));
    // The first that was done aggregates.
    let [proving::Output::Task(Output::Start { node: Some(at), .. })] = &outputs[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(*at, node("b"));
    let outputs = give(&mut proving, 4, 1, row(30));
    let free = proving::Output::Release(vec![node("a"), node("b")]);
    assert_eq!(outputs, [free, proving::Output::Ended]);
    assert_eq!(proving::proof(proving.ended().unwrap()), Some(&row(30)[..]));
    assert_eq!(proving.wake_at(), None);
}

#[test]
fn a_dead_worker_is_dealt_around_in_either_phase() {
    for proved in [false, true] {
        let mut proving = begun();
        give(&mut proving, 0, 1, row(10));
        if proved {
            give(&mut proving, 1, 1, row(11));
            give(&mut proving, 2, 1, row(20));
        }
        // It has done its part, and yet the round cannot go on without it.
        let outputs = lose(&mut proving, "a");
        let [.., free, deal] = &outputs[..] else {
            panic!("{outputs:?}");
        };
        assert_eq!(*free, proving::Output::Release(vec![node("a"), node("b")]));
        let wants = proving::Output::Deal {
            units: 5,
            without: vec![node("a")],
        };
        assert_eq!(*deal, wants);
        assert_eq!(proving.past(), ["worker a was lost"]);
        let again = Gang::deal(&[worker("a", 9)], 5).unwrap();
        let refused = proving
            .handle(proving::Input::Gang(again), NOW)
            .unwrap_err();
        assert_eq!(refused, proving::Refused::Unwanted(node("a")));
        let small = Gang::deal(&[worker("b", 9)], 4).unwrap();
        assert!(proving.handle(proving::Input::Gang(small), NOW).is_err());
        let gang = Gang::deal(&[worker("b", 9)], 5).unwrap();
        let outputs = proving.handle(proving::Input::Gang(gang), NOW).unwrap();
        // Epochs go on, so the old round is not heard.
        assert_eq!(tasks(&outputs), [(0, 2)]);
        let late = TaskInput::Done {
            task: TaskIndex(0),
            epoch: Epoch(1),
            value: Value::Rows(row(9)),
            samples: None,
        };
        assert!(proving.handle(proving::Input::Task(late), NOW).is_err());
        give(&mut proving, 0, 2, row(40));
        give(&mut proving, 1, 2, row(41));
        give(&mut proving, 2, 2, row(42));
        assert_eq!(proving::proof(proving.ended().unwrap()), Some(&row(42)[..]));
    }
}

#[test]
fn a_dead_aggregator_hands_on() {
    let mut proving = begun();
    for (task, word) in [(0, 10), (1, 11), (2, 20), (3, 21)] {
        give(&mut proving, task, 1, row(word));
    }
    assert_eq!(proving.phase(), Some(Phase::Aggregate));
    let outputs = lose(&mut proving, "a");
    let [
        proving::Output::Task(Output::Start {
            node: Some(at),
            epoch,
            ..
        }),
    ] = &outputs[..]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!((at, *epoch), (&node("b"), Epoch(2)));
    // An empty proof is none, and there is nobody left.
    let outputs = give(&mut proving, 4, 2, Vec::new());
    // The next round has neither of them.
    let Some(proving::Output::Deal { without, .. }) = outputs.last() else {
        panic!("{outputs:?}");
    };
    assert_eq!(*without, [node("a"), node("b")]);
}

#[test]
fn rounds_and_waits_end() {
    let mut proving = begun();
    // A contribution without words is a failure of that worker.
    let outputs = give(&mut proving, 1, 1, Vec::new());
    assert!(matches!(
        outputs.last(),
        Some(proving::Output::Deal { without, .. }) if *without == [node("b")]
    ));
    assert_eq!(proving.round(), 2);
    let mut waiting = proving.clone();
    let due = waiting.wake_at().unwrap();
    let tick = || proving::Input::Task(TaskInput::Tick);
    assert!(
        waiting
            .handle(tick(), UnixMillis(due.0 - 1))
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        waiting.handle(tick(), due).unwrap(),
        [proving::Output::Ended]
    );
    let Some(Ended::Failed(failure)) = waiting.ended() else {
        panic!("{waiting:?}");
    };
    assert_eq!(failure.code(), "no_gang");
    // Silence in the last round ends the work.
    let gang = Gang::deal(&[worker("a", 9)], 5).unwrap();
    proving.handle(proving::Input::Gang(gang), NOW).unwrap();
    let due = proving.wake_at().unwrap();
    let outputs = proving.handle(tick(), due).unwrap();
    assert_eq!(outputs.last(), Some(&proving::Output::Ended));
    assert!(matches!(proving.ended(), Some(Ended::Failed(_))));
    assert_eq!(proving.past().len(), 2);
    let gang = Gang::deal(&[worker("c", 9)], 5).unwrap();
    let refused = proving.handle(proving::Input::Gang(gang), NOW).unwrap_err();
    assert_eq!(refused, proving::Refused::NotDealing);
}

#[test]
fn a_round_that_was_lost_track_of_is_dealt_again_and_blames_nobody() {
    let again = || proving::Input::Again {
        reason: "started again".into(),
    };
    let mut proving = begun();
    give(&mut proving, 0, 1, row(10));
    let outputs = proving.handle(again(), NOW).unwrap();
    let [.., free, deal] = &outputs[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(*free, proving::Output::Release(vec![node("a"), node("b")]));
    let wants = proving::Output::Deal {
        units: 5,
        without: Vec::new(),
    };
    assert_eq!(*deal, wants);
    assert_eq!(
        (proving.round(), proving.past()),
        (2, &["started again".to_owned()][..])
    );
    assert_eq!(proving.wants(), Some((5, &[][..])));
    // While it waits for a gang it asks once more, and no round is used up.
    assert_eq!(proving.handle(again(), NOW).unwrap(), [wants]);
    assert_eq!(proving.round(), 2);
    let gang = Gang::deal(&[worker("a", 3), worker("b", 2)], 5).unwrap();
    let outputs = proving.handle(proving::Input::Gang(gang), NOW).unwrap();
    // What the round before still says is not heard.
    assert_eq!(tasks(&outputs), [(0, 2), (1, 2)]);
    // It was the last round.
    let outputs = proving.handle(again(), NOW).unwrap();
    assert_eq!(outputs.last(), Some(&proving::Output::Ended));
    assert!(matches!(proving.ended(), Some(Ended::Failed(_))));
    assert_eq!(
        proving.handle(again(), NOW).unwrap_err(),
        proving::Refused::NoRound
    );
}

#[test]
fn the_owner_ends_it_at_any_time() {
    let cancel = || {
        proving::Input::Task(TaskInput::Cancel {
            reason: "enough".into(),
        })
    };
    let (mut dealing, _) = Proving::start(TERMS, NOW).unwrap();
    assert_eq!(
        dealing.handle(cancel(), NOW).unwrap(),
        [proving::Output::Ended]
    );
    let mut running = begun();
    let outputs = running.handle(cancel(), NOW).unwrap();
    assert_eq!(outputs.last(), Some(&proving::Output::Ended));
    assert!(outputs.contains(&proving::Output::Release(vec![node("a"), node("b")])));
    for ended in [dealing, running] {
        assert!(matches!(ended.ended(), Some(Ended::Cancelled { .. })));
    }
    for terms in [
        Terms { units: 0, ..TERMS },
        Terms {
            rounds: 99,
            ..TERMS
        },
        Terms {
            lease: Duration::ZERO,
            ..TERMS
        },
    ] {
        assert!(Proving::start(terms, NOW).is_err());
    }
}
