//! Questions that are answered while whoever asked does something else. They are kept
//! for whoever comes from the same place, in memory: an answer is not a job.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use embermesh_crypto::{ids::PeerId, time::UnixMillis};
use embermesh_dialects::{
    ErrorCode, Failure,
    port::node::{
        Line,
        asking::{AskedCounts, AskedView},
    },
};
use embermesh_job::{ask::Part, lifecycle::JobState};
use tokio_util::sync::CancellationToken;

/// Questions that are kept. At the bound the one that ended first is forgotten.
const MAX_KEPT: usize = 1024;
/// Parts of one answer that are kept.
const MAX_PARTS: usize = 16_384;
/// The longest name of a question, in bytes.
const MAX_NAME: usize = 256;

/// Whose a question is: as much as its line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Key(PeerId),
    Address(IpAddr),
}

impl Owner {
    pub(super) fn of(line: &Line) -> Result<Self, Failure> {
        if let Some(key) = line.key {
            return Ok(Self::Key(key));
        }
        let remote = line.remote.map(|remote| remote.ip().to_canonical());
        let none = || Failure::new(ErrorCode::Denied, "where the call comes from is not known");
        remote.map(Self::Address).ok_or_else(none)
    }
}

struct Kept {
    view: AskedView,
    cancel: CancellationToken,
}

/// Every question that is kept.
#[derive(Default)]
pub(super) struct Asks {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    kept: BTreeMap<(Owner, String), Kept>,
    counts: AskedCounts,
}

impl Asks {
    /// Takes a question on. What is given back ends when it is no longer wanted.
    pub(super) fn begin(
        &self,
        owner: Owner,
        id: &str,
        now: UnixMillis,
    ) -> Result<(AskedView, CancellationToken), Failure> {
        if id.is_empty() || id.len() > MAX_NAME {
            let message = format!("job_id: give 1 to {MAX_NAME} bytes");
            return Err(Failure::invalid(message));
        }
        let mut table = self.table();
        let key = (owner, id.to_owned());
        if table.kept.contains_key(&key) {
            let message = format!("there is a job {id:?} already");
            return Err(Failure::new(ErrorCode::Exists, message));
        }
        if table.kept.len() >= MAX_KEPT {
            let ended = table.kept.iter().filter_map(|(key, kept)| {
                let ended = kept.view.ended?;
                Some((ended, key.clone()))
            });
            let Some((_, oldest)) = ended.min() else {
                let message = format!("{MAX_KEPT} questions are under way: try again later");
                return Err(Failure::new(ErrorCode::Exhausted, message));
            };
            table.kept.remove(&oldest);
        }
        let view = AskedView {
            id: id.to_owned(),
            state: JobState::Running,
            answer: Vec::new(),
            message: String::new(),
            began: now,
            ended: None,
        };
        let cancel = CancellationToken::new();
        let kept = Kept {
            view: view.clone(),
            cancel: cancel.clone(),
        };
        table.kept.insert(key, kept);
        table.counts.total += 1;
        table.counts.open += 1;
        drop(table);
        Ok((view, cancel))
    }

    /// Keeps a part of an answer. False when there are too many.
    pub(super) fn hear(&self, owner: Owner, id: &str, part: Part) -> bool {
        let mut table = self.table();
        let Some(kept) = table.kept.get_mut(&(owner, id.to_owned())) else {
            return false;
        };
        let has_room = kept.view.answer.len() < MAX_PARTS;
        if has_room {
            kept.view.answer.push(part);
        }
        has_room
    }

    /// Ends a question, unless it has ended.
    pub(super) fn end(&self, owner: Owner, id: &str, ended: Result<(), String>, now: UnixMillis) {
        let (state, message) = match ended {
            Ok(()) => (JobState::Succeeded, String::new()),
            Err(message) => (JobState::Failed, message),
        };
        self.settle(owner, id, state, message, now);
    }

    /// A question.
    pub(super) fn view(&self, owner: Owner, id: &str) -> Result<AskedView, Failure> {
        let table = self.table();
        let kept = table.kept.get(&(owner, id.to_owned()));
        kept.map(|kept| kept.view.clone())
            .ok_or_else(|| Failure::not_found(format!("no job {id:?} is known to you")))
    }

    /// Ends a question that nobody waits for any more.
    pub(super) fn cancel(
        &self,
        owner: Owner,
        id: &str,
        now: UnixMillis,
    ) -> Result<AskedView, Failure> {
        let message = "cancelled".to_owned();
        self.settle(owner, id, JobState::Cancelled, message, now);
        let view = self.view(owner, id)?;
        if let Some(kept) = self.table().kept.get(&(owner, id.to_owned())) {
            kept.cancel.cancel();
        }
        Ok(view)
    }

    pub(super) fn counts(&self) -> AskedCounts {
        self.table().counts
    }

    fn settle(&self, owner: Owner, id: &str, state: JobState, message: String, now: UnixMillis) {
        let mut table = self.table();
        let Table { kept, counts } = &mut *table;
        let Some(kept) = kept.get_mut(&(owner, id.to_owned())) else {
            return;
        };
        if kept.view.ended.is_some() {
            return;
        }
        kept.view.state = state;
        kept.view.message = message;
        kept.view.ended = Some(now);
        counts.open = counts.open.saturating_sub(1);
        match state {
            JobState::Succeeded => {
                counts.succeeded += 1;
                counts.total_ms += now.0.saturating_sub(kept.view.began.0);
            }
            _ => counts.failed += 1,
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(last: u8) -> Owner {
        Owner::Address([127, 0, 0, last].into())
    }

    #[test]
    fn a_question_is_its_owners_alone_and_ends_once() {
        let asks = Asks::default();
        asks.begin(owner(1), "a", UnixMillis(1)).unwrap();
        let again = asks.begin(owner(1), "a", UnixMillis(1)).unwrap_err();
        assert_eq!(again.code, ErrorCode::Exists);
        asks.begin(owner(2), "a", UnixMillis(1)).unwrap();
        assert!(asks.begin(owner(1), "", UnixMillis(1)).is_err());
        asks.end(owner(1), "a", Ok(()), UnixMillis(5));
        // Too late.
        let view = asks.cancel(owner(1), "a", UnixMillis(9)).unwrap();
        assert_eq!(
            (view.state, view.ended),
            (JobState::Succeeded, Some(UnixMillis(5)))
        );
        assert_eq!(asks.view(owner(2), "a").unwrap().state, JobState::Running);
        assert_eq!(
            asks.view(owner(3), "a").unwrap_err().code,
            ErrorCode::NotFound
        );
        let counts = asks.counts();
        assert_eq!((counts.total, counts.succeeded, counts.open), (2, 1, 1));
        assert_eq!(counts.total_ms, 4);
    }

    #[test]
    fn what_ended_first_makes_room_and_what_runs_does_not() {
        let asks = Asks::default();
        for number in 0..MAX_KEPT {
            asks.begin(owner(1), &number.to_string(), UnixMillis(1))
                .unwrap();
        }
        let full = asks.begin(owner(1), "more", UnixMillis(1)).unwrap_err();
        assert_eq!(full.code, ErrorCode::Exhausted);
        asks.cancel(owner(1), "7", UnixMillis(2)).unwrap();
        asks.end(owner(1), "5", Err("no".to_owned()), UnixMillis(3));
        asks.begin(owner(1), "more", UnixMillis(4)).unwrap();
        assert!(asks.view(owner(1), "7").is_err());
        assert_eq!(asks.view(owner(1), "5").unwrap().message, "no");
    }
}
