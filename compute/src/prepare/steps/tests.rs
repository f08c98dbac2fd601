use embermesh_job::spec::prepare::encode::Filling;
use embermesh_job::spec::prepare::schema::Kind;
use embermesh_job::spec::prepare::step::Amount;

use super::*;
use crate::prepare::table::TRAIN;

const FILE: &str = "data.csv.file";

/// Rows of a number and a text.
fn table(rows: &[(f64, Option<&str>)], room: &mut Room) -> Table {
    let columns = [("x", Kind::Number), ("t", Kind::Text)];
    let columns = columns.map(|(name, kind)| (name.to_owned(), kind));
    let mut table = Table::of(&columns);
    for (row, (number, text)) in (1..).zip(rows) {
        table.columns[0].push(*number, room, FILE).unwrap();
        table.columns[1].push_text(*text, room, FILE).unwrap();
        table.end_row(row, room, FILE).unwrap();
    }
    table
}

fn done(step: &Step<()>, table: &mut Table, room: &mut Room) -> Result<(), InvalidData> {
    let step: Step = serde_json::from_value(serde_json::to_value(step).unwrap()).unwrap();
    let stage = &mut Stage::new(1, step.word(), FILE, room);
    run(&step, table, None, &mut Lessons::default(), stage)
}

/// What a step takes of the job's memory it gives back, but for what the rows
/// then hold.
#[test]
fn memory_that_is_taken_is_given_back() {
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let steps: Vec<Step<()>> = vec![
        Step::Select {
            columns: names(&["t", "x"]),
        },
        Step::Drop {
            columns: names(&["t"]),
        },
        Step::Shuffle { seed: 1 },
        Step::Limit { rows: 30 },
        Step::Sample {
            rows: Amount::Count(20),
            seed: 2,
        },
        Step::Sample {
            rows: Amount::Share(0.25),
            seed: 2,
        },
        Step::Fill {
            columns: names(&["x"]),
            with: Filling::Median,
        },
        Step::Fill {
            columns: names(&["t"]),
            with: Filling::Text("none".to_owned()),
        },
        Step::Standardise {
            columns: names(&["x"]),
        },
        Step::Split {
            validation: 0.2,
            test: 0.2,
            stratify: None,
            seed: 3,
        },
    ];
    for step in steps {
        let mut room = Room::new(1 << 20);
        let rows: Vec<(f64, Option<&str>)> = (0..100)
            .map(|row| match row % 7 {
                0 => (f64::NAN, None),
                other => (row as f64, Some(["a", "bb", "ccc"][other % 3])),
            })
            .collect();
        let mut table = table(&rows, &mut room);
        done(&step, &mut table, &mut room).unwrap();
        assert_eq!((1 << 20) - room.left(), table.held(), "{step:?}");
    }
}

#[test]
fn draws_are_a_function_of_seed_and_step() {
    let rows: Vec<(f64, Option<&str>)> = (0..50).map(|row| (f64::from(row), None)).collect();
    let drawn = |step: &Step<()>, number: usize| {
        let room = &mut Room::new(1 << 20);
        let mut table = table(&rows, room);
        let step: Step = serde_json::from_value(serde_json::to_value(step).unwrap()).unwrap();
        let stage = &mut Stage::new(number, step.word(), FILE, room);
        run(&step, &mut table, None, &mut Lessons::default(), stage).unwrap();
        table.rows
    };
    let sample = |seed| Step::Sample {
        rows: Amount::Count(10),
        seed,
    };
    let ten = drawn(&sample(1), 1);
    assert!(ten.is_sorted() && ten.len() == 10);
    assert_eq!(ten, drawn(&sample(1), 1));
    assert_ne!(ten, drawn(&sample(2), 1));
    assert_ne!(ten, drawn(&sample(1), 2));
    let mut shuffled = drawn(&Step::Shuffle { seed: 1 }, 1);
    assert!(!shuffled.is_sorted());
    shuffled.sort_unstable();
    assert!(shuffled.into_iter().eq(1..=50));
}

#[test]
fn shares_are_met_by_each_class_within_half_a_row() {
    let rows: Vec<(f64, Option<&str>)> = (0..97)
        .map(|row| (f64::from(row), Some(["a", "b"][usize::from(row % 5 == 0)])))
        .collect();
    let room = &mut Room::new(1 << 20);
    let mut table = table(&rows, room);
    let step = Step::Split {
        validation: 0.15,
        test: 0.25,
        stratify: Some("t".to_owned()),
        seed: 9,
    };
    done(&step, &mut table, room).unwrap();
    for (class, count) in [("a", 77.0), ("b", 20.0)] {
        for (split, share) in [(TRAIN, 0.6), (1, 0.15), (2, 0.25)] {
            let found = (0..97)
                .filter(|&row| {
                    table.columns[1].text(row) == Some(class) && table.splits[row] == split
                })
                .count();
            let slack = if split == TRAIN { 1.0 } else { 0.5 };
            assert!(
                (found as f64 - count * share).abs() <= slack,
                "{class} {split} {found}"
            );
        }
    }
}

#[test]
fn a_step_that_finds_no_memory_says_which_it_is() {
    let rows: Vec<(f64, Option<&str>)> = (0..100).map(|row| (f64::from(row), None)).collect();
    let mut table = table(&rows, &mut Room::new(1 << 20));
    let failed = done(&Step::Shuffle { seed: 1 }, &mut table, &mut Room::new(100));
    let said = failed.unwrap_err().to_string();
    assert!(said.starts_with("step 1 (shuffle) takes"), "{said}");
}
