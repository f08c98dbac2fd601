//! A preparation under way: rows through the steps and into files.

use std::collections::BTreeMap;

use embermesh_job::event::{EventKind, Progress};
use embermesh_job::spec::prepare::step::Step;
use embermesh_job::spec::{Prepare, PreparedFormat};

use super::learnt::Lessons;
use super::read::Opened;
use super::steps::tokens::Tokens;
use super::steps::{self, Stage};
use super::table::{SPLITS, Table};
use super::write::{Parquet, safetensors};
use super::{ALL, RECORD};
use crate::dataset::room::Room;
use crate::failure::{InvalidData, Place, WorkFailed};
use crate::job::Job;
use crate::output::Output;
use crate::pace::Pace;

/// A preparation that is under way.
pub(super) struct Working<'a> {
    pub(super) prepare: &'a Prepare,
    pub(super) opened: &'a Opened,
    pub(super) tokens: &'a [Option<Tokens<'a>>],
    pub(super) pace: Pace,
    pub(super) total_steps: u64,
}

impl Working<'_> {
    /// Does one of the steps, by its place from 0.
    fn step(
        &self,
        at: usize,
        table: &mut Table,
        room: &mut Room,
        lessons: &mut Lessons,
    ) -> Result<(), InvalidData> {
        let step = &self.prepare.steps[at];
        let stage = &mut Stage::new(at + 1, step.word(), self.opened.file, room);
        steps::run(step, table, self.tokens[at].as_ref(), lessons, stage)
    }

    /// Reads the rows, does the first steps to each piece, and shows what is left.
    fn pieces(
        &mut self,
        by_row: usize,
        job: &mut Job<'_>,
        room: &mut Room,
        lessons: &mut Lessons,
        take: &mut dyn FnMut(Table, &mut Job<'_>, &mut Room) -> Result<(), WorkFailed>,
    ) -> Result<(), WorkFailed> {
        let opened = self.opened;
        let mut count = 0;
        opened
            .rows
            .each(opened.file, room, &mut |mut piece, room| {
                job.breathe(&mut self.pace)?;
                count += piece.len() as u64;
                for at in 0..by_row {
                    self.step(at, &mut piece, room, lessons)?;
                }
                take(piece, job, room)
            })?;
        self.pace.step(count);
        for _ in 0..by_row {
            self.pace.step(0);
        }
        self.progress(by_row as u64 + 1, job);
        Ok(())
    }

    /// From file to file, a piece at a time. Gives the columns, without rows.
    pub(super) fn straight(
        &mut self,
        job: &mut Job<'_>,
        room: &mut Room,
        lessons: &mut Lessons,
    ) -> Result<(Table, BTreeMap<String, u64>), WorkFailed> {
        let name = format!("{ALL}.{}", self.prepare.format.extension());
        let path = job.order.workdir.join(&name);
        let ceiling = job.order.ceilings.output_bytes;
        let mut to: Option<Parquet> = None;
        let mut columns = Table::default();
        let mut rows = 0;
        let steps = self.prepare.steps.len();
        self.pieces(steps, job, room, lessons, &mut |piece, _, room| {
            let sink = match &mut to {
                Some(sink) => sink,
                None => {
                    columns = piece.clone();
                    columns.keep(&[], &mut Room::new(u64::MAX), RECORD)?;
                    let output = Output::create(&path, ceiling)?;
                    to.insert(Parquet::new(output, &piece.columns)?)
                }
            };
            rows += piece.len() as u64;
            sink.take(piece, room)
        })?;
        let to = to.filter(|_| rows > 0).ok_or_else(|| self.nothing())?;
        let path = to.finish(room)?;
        job.log.artifact(&name, path);
        Ok((columns, BTreeMap::from([(ALL.to_owned(), rows)])))
    }

    /// All rows that the first steps leave.
    pub(super) fn gather(
        &mut self,
        by_row: usize,
        job: &mut Job<'_>,
        room: &mut Room,
        lessons: &mut Lessons,
    ) -> Result<Table, WorkFailed> {
        let mut table = Table::default();
        let file = self.opened.file;
        self.pieces(by_row, job, room, lessons, &mut |piece, _, room| {
            Ok(table.append(piece, room, file)?)
        })?;
        match table.len() {
            0 => Err(self.nothing()),
            _ => Ok(table),
        }
    }

    /// The steps from the first that needs all rows.
    pub(super) fn rest(
        &mut self,
        by_row: usize,
        table: &mut Table,
        job: &mut Job<'_>,
        room: &mut Room,
        lessons: &mut Lessons,
    ) -> Result<(), WorkFailed> {
        for at in by_row..self.prepare.steps.len() {
            job.breathe(&mut self.pace)?;
            self.step(at, table, room, lessons)?;
            self.pace.step(0);
            self.progress(at as u64 + 2, job);
        }
        Ok(())
    }

    /// Writes a file a split, and gives the rows of each.
    pub(super) fn write(
        &mut self,
        table: &Table,
        job: &mut Job<'_>,
        room: &mut Room,
    ) -> Result<BTreeMap<String, u64>, WorkFailed> {
        let mut left = job.order.ceilings.output_bytes;
        let mut parts = Vec::new();
        let was_split = self.prepare.steps.iter().find_map(|step| match step {
            Step::Split {
                validation, test, ..
            } => Some([1.0, *validation, *test]),
            _ => None,
        });
        for (split, part) in (0..).zip(SPLITS) {
            let name = match was_split {
                None if split == 0 => ALL,
                Some(shares) if shares[usize::from(split)] > 0.0 => part,
                _ => continue,
            };
            let rows = table.split(split, room, RECORD)?;
            if rows.is_empty() {
                return Err(InvalidData::Misfit(format!("no rows are left for {name:?}")).into());
            }
            parts.push((name, rows));
        }
        let mut counts = BTreeMap::new();
        let mut made = Vec::new();
        for (name, rows) in parts {
            job.breathe(&mut self.pace)?;
            let file = format!("{name}.{}", self.prepare.format.extension());
            let path = job.order.workdir.join(&file);
            let path = match self.prepare.format {
                PreparedFormat::Parquet => {
                    let output = Output::create(&path, left)?;
                    let mut to = Parquet::new(output, &table.columns)?;
                    to.write(table, &rows, room)?;
                    to.finish(room)?
                }
                PreparedFormat::Safetensors => safetensors(&path, left, table, &rows, room)?,
            };
            let size = std::fs::metadata(&path).map_err(crate::failure::at(&path))?;
            left = left.saturating_sub(size.len());
            counts.insert(name.to_owned(), rows.len() as u64);
            room.give(rows.capacity() as u64 * 4);
            made.push((file, path));
        }
        for (file, path) in made {
            job.log.artifact(&file, path);
        }
        Ok(counts)
    }

    fn nothing(&self) -> WorkFailed {
        Place::file(self.opened.file)
            .has("no row that the steps leave", "at least one")
            .into()
    }

    fn progress(&mut self, step: u64, job: &mut Job<'_>) {
        job.log.plain(EventKind::Progress(Progress {
            step,
            total_steps: self.total_steps,
            pass: 1,
            total_passes: 1,
            // There is nothing to be wrong about.
            loss: f64::NAN,
            accuracy: None,
            samples_per_second: self.pace.samples_per_second(),
            remaining_ms: self.pace.remaining_ms(self.total_steps - step),
        }));
    }
}
