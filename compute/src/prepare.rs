//! Preparation: a dataset through a closed list of steps, into files that a
//! training reads.
//!
//! Steps that look at one row at a time are done while the data is read, a piece
//! at a time, so that memory holds what they leave; where there are no others the
//! rows go from file to file. From the first step that needs all rows on, all of
//! them are in memory, as much as the job has room for.
//!
//! | module | what it is |
//! |---|---|
//! | [`read`] | the data, opened and then read in pieces |
//! | [`column`], [`texts`], [`table`] | rows in memory |
//! | [`steps`], [`learnt`] | what is done to them, and what is learnt of them |
//! | [`working`], [`write`] | all of it, into the files |

mod column;
mod learnt;
mod read;
mod steps;
mod table;
mod texts;
mod working;
mod write;

use embermesh_job::event::EventKind;
use embermesh_job::spec::prepare::schema::Schema;
use embermesh_job::spec::prepare::step::Step;
use embermesh_job::spec::{Prepare, PreparedFormat};

use self::learnt::{Lessons, Record};
use self::read::Opened;
use self::steps::Stage;
use self::steps::tokens::Tokens;
use self::working::Working;
use crate::dataset::load;
use crate::dataset::room::Room;
use crate::failure::{InvalidData, WorkFailed};
use crate::job::Job;
use crate::pace::Pace;
use crate::pipe::WorkSummary;

/// The name of the record, within the job and as a file.
const RECORD: &str = "prepared.json";
/// The name of the rows where nothing is split.
const ALL: &str = "prepared";

/// Prepares the data of an order.
pub(crate) fn run(prepare: &Prepare, job: &mut Job<'_>) -> Result<WorkSummary, WorkFailed> {
    let room = &mut Room::new(job.source().room);
    let opened = read::open(&prepare.data, job.order, room)?;
    fits(prepare, &opened)?;
    let mut lessons = match prepare.learnt {
        None => Lessons::default(),
        Some(input) => {
            let bytes = load::input(input, job.order)?;
            Lessons::given(&bytes, &mut Stage::new(0, "learnt", opened.file, room))?
        }
    };
    let files = prepare
        .steps
        .iter()
        .map(|step| match step {
            Step::Tokenise(how) => load::input(how.tokenizer, job.order).map(Some),
            _ => Ok(None),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let tokens = tokenizers(&prepare.steps, &files, opened.file, room)?;

    let total_steps = prepare.steps.len() as u64 + 2;
    job.log.plain(EventKind::Started {
        device: job.device.name.clone(),
        parameters: 0,
        total_steps,
        samples: opened.count.unwrap_or(0),
    });
    let mut work = Working {
        prepare,
        opened: &opened,
        tokens: &tokens,
        pace: Pace::new(),
        total_steps,
    };
    let by_row = prepare.steps.iter().take_while(|step| step.is_by_row());
    let by_row = by_row.count();
    let straight = by_row == prepare.steps.len() && prepare.format == PreparedFormat::Parquet;
    let (columns, rows) = match straight {
        true => work.straight(job, room, &mut lessons)?,
        false => {
            let mut table = work.gather(by_row, job, room, &mut lessons)?;
            work.rest(by_row, &mut table, job, room, &mut lessons)?;
            let rows = work.write(&table, job, room)?;
            table.keep(&[], room, RECORD)?;
            (table, rows)
        }
    };
    let count: u64 = rows.values().sum();
    let width = columns.columns.len() as u64;
    let record = Record::new(prepare.format, rows.clone(), &columns.columns, lessons);
    let text = serde_json::to_vec_pretty(&record)
        .map_err(|error| WorkFailed::Internal(format!("the record does not encode: {error}")))?;
    job.artifact(RECORD, &text)?;
    job.log.plain(EventKind::Prepared {
        rows,
        columns: width,
    });
    Ok(WorkSummary {
        steps: total_steps,
        samples: count,
        loss: None,
        accuracy: None,
        next_seq: job.log.next(),
    })
}

/// Whether every step fits the columns that the data has, before any is done.
fn fits(prepare: &Prepare, opened: &Opened) -> Result<(), InvalidData> {
    let schema = Schema::of(opened.columns.iter().cloned());
    prepare.fits(schema).map(drop).map_err(|reason| {
        let remark = opened
            .remarks
            .iter()
            .find(|(name, _)| reason.contains(&format!("column {name:?} has texts")));
        match remark {
            Some((_, remark)) => InvalidData::Misfit(format!("{reason} ({remark})")),
            None => InvalidData::Misfit(reason),
        }
    })
}

/// The tokenizer of each step that has one.
fn tokenizers<'a>(
    steps: &[Step],
    files: &'a [Option<Vec<u8>>],
    file: &'static str,
    room: &mut Room,
) -> Result<Vec<Option<Tokens<'a>>>, InvalidData> {
    let mut all = Vec::new();
    for ((number, step), bytes) in (1..).zip(steps).zip(files) {
        all.push(match (step, bytes) {
            (Step::Tokenise(how), Some(bytes)) => {
                let stage = &mut Stage::new(number, step.word(), file, room);
                let read = Tokens::read(bytes, how, stage);
                Some(read.map_err(|error| error.in_step(number, step.word()))?)
            }
            _ => None,
        });
    }
    Ok(all)
}
