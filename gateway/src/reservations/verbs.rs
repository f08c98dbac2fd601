//! The port: what dialects ask of reservations.

use std::time::Duration;

use embermesh_client::{
    Client, ClientError, IdempotencyKey, reservation::ReservationView as Known,
};
use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    ErrorCode, Failure,
    port::{
        Principal,
        jobs::Jobs as _,
        reservations::{
            AWAY_AFTER, Beat, Leave, ReservationFilter, ReservationPage, ReservationState,
            ReservationView, Reservations, Reserve, Reserved,
        },
    },
};
use embermesh_job::{
    lifecycle::JobState,
    reservation::{Reservation, ReservationId, ReservationState as Stands},
    units::Millis,
};

use super::rows::Said;
use crate::{
    Gateway, accounts,
    failure::{failure, store_failed},
};

/// Reservations of a page, where the caller does not say.
const PAGE: usize = 50;
/// The most reservations of a page.
const LONGEST_PAGE: usize = 500;
/// The most reservations of one client that are listed at all.
const MOST: usize = 10_000;
/// The most measures of a sign of life, and the longest name of one in bytes.
const MAX_METRICS: (usize, usize) = (64, 64);
/// How far back in the ledger the movements of a reservation are looked for.
const RECENT: usize = 100;

impl Gateway {
    /// A reservation of somebody's, as the index and as he knows it.
    async fn taken(&self, who: &Principal, id: &str) -> Result<(Client, Known, Said), Failure> {
        let number: ReservationId = id.parse().map_err(|_| unknown(id))?;
        let client = self.inner.clients.of(who).await?;
        let known = client.reservation(number).await;
        let known = known.map_err(|error| refused(&error))?;
        if known.reservation.client != client.peer_id() {
            return Err(unknown(id));
        }
        let said = self.inner.store.said(number.0).await;
        Ok((client, known, said.map_err(|error| store_failed(&error))?))
    }

    async fn say(&self, who: &Principal, id: ReservationId, said: &Said) -> Result<(), Failure> {
        let said = self.inner.store.say(who, id.0, said).await;
        said.map_err(|error| store_failed(&error))
    }

    /// A reservation with what the ledger has just done for it.
    async fn with_movements(
        &self,
        who: &Principal,
        client: &Client,
        known: Known,
        said: Said,
    ) -> ReservationView {
        let subject = format!("reservation {}", known.reservation.id);
        let mut view = view(who, known, said, UnixMillis::now());
        match client.history(None, RECENT).await {
            Ok(recent) => {
                let own = client.peer_id();
                let recent = recent.iter().map(|done| accounts::movement(done, own));
                let of_it = recent.filter(|movement| movement.subject == subject);
                view.movements = of_it.map(|movement| (movement.kind, movement.id)).collect();
            }
            // It is done whether its number is known or not.
            Err(error) => tracing::warn!(%error, "the movements of a reservation are not known"),
        }
        view
    }
}

#[tonic::async_trait]
impl Reservations for Gateway {
    async fn reserve(&self, who: &Principal, what: Reserve) -> Result<Reserved, Failure> {
        let client = self.inner.clients.of(who).await?;
        let key = IdempotencyKey::fresh().map_err(|error| failure(&error))?;
        let length = Millis(u64::try_from(what.length.as_millis()).unwrap_or(u64::MAX));
        let known = client.reserve(key, what.node, length, None).await;
        let known = known.map_err(|error| refused(&error))?;
        let id = known.reservation.id;
        let mut said = Said::default();
        let mut assignment = None;
        if let Some(mut job) = what.job {
            job.spec.requires.nodes = vec![what.node];
            match self.submit(who, job).await {
                Ok(job) => {
                    assignment = job.assignment;
                    said.job = Some(job.id);
                }
                Err(failed) => {
                    // Nothing of it was used.
                    if let Err(error) = client.release_reservation(id).await {
                        tracing::warn!(%error, %id, "a reservation without its job stays");
                    }
                    return Err(failed);
                }
            }
        }
        self.say(who, id, &said).await?;
        Ok(Reserved {
            reservation: self.with_movements(who, &client, known, said).await,
            assignment,
        })
    }

    async fn reservation(&self, who: &Principal, id: &str) -> Result<ReservationView, Failure> {
        let (_, known, said) = self.taken(who, id).await?;
        Ok(view(who, known, said, UnixMillis::now()))
    }

    async fn reservations(
        &self,
        who: &Principal,
        filter: ReservationFilter,
    ) -> Result<ReservationPage, Failure> {
        let most = match filter.most {
            0 => PAGE,
            most => most.min(LONGEST_PAGE),
        };
        let before: u64 = match &filter.after {
            None => u64::MAX,
            Some(place) => place
                .parse()
                .map_err(|_| Failure::invalid("the page token is not one of this index's"))?,
        };
        let client = self.inner.clients.of(who).await?;
        let found = client.reservations(filter.open_only, MOST).await;
        let mut found = found.map_err(|error| refused(&error))?;
        found.retain(|known| known.reservation.client == client.peer_id());
        let total = found.len() as u64;
        found.retain(|known| known.reservation.id.0 < before);
        let more = found.len() > most;
        found.truncate(most);
        let next = found.last().filter(|_| more);
        let next = next.map(|known| known.reservation.id.to_string());
        let now = UnixMillis::now();
        let mut reservations = Vec::with_capacity(found.len());
        for known in found {
            let said = self.inner.store.said(known.reservation.id.0).await;
            let said = said.map_err(|error| store_failed(&error))?;
            reservations.push(view(who, known, said, now));
        }
        Ok(ReservationPage {
            reservations,
            next,
            total,
        })
    }

    async fn attend(
        &self,
        who: &Principal,
        id: &str,
        beat: Beat,
    ) -> Result<ReservationView, Failure> {
        fits(&beat)?;
        let (_, known, mut said) = self.taken(who, id).await?;
        if known.reservation.state != Stands::Active {
            return Err(over(&known.reservation));
        }
        if let Some(job) = beat.job {
            // Only a job of his own is told of.
            self.job(who, &job).await?;
            said.job = Some(job);
        }
        said.heard_at = Some(UnixMillis::now());
        said.progress = beat.progress;
        said.metrics = beat.metrics;
        self.say(who, known.reservation.id, &said).await?;
        Ok(view(who, known, said, UnixMillis::now()))
    }

    async fn extend(
        &self,
        who: &Principal,
        id: &str,
        by: Duration,
    ) -> Result<ReservationView, Failure> {
        let (client, known, said) = self.taken(who, id).await?;
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let length = Millis(known.reservation.length().0.saturating_add(by));
        let longer = client
            .extend_reservation(known.reservation.id, length)
            .await;
        let longer = longer.map_err(|error| refused(&error))?;
        Ok(self.with_movements(who, &client, longer, said).await)
    }

    async fn leave(
        &self,
        who: &Principal,
        id: &str,
        how: Leave,
    ) -> Result<ReservationView, Failure> {
        let (client, known, mut said) = self.taken(who, id).await?;
        let number = known.reservation.id;
        if how == Leave::Done && !said.done {
            said.done = true;
            self.say(who, number, &said).await?;
        }
        let left = client.release_reservation(number).await;
        let left = left.map_err(|error| refused(&error))?;
        Ok(self.with_movements(who, &client, left, said).await)
    }

    async fn confirm(
        &self,
        who: &Principal,
        id: &str,
        job: &str,
    ) -> Result<ReservationView, Failure> {
        let (_, known, mut said) = self.taken(who, id).await?;
        let ended = self.job(who, job).await?;
        let on = known.reservation.node.to_string();
        let not = |why: String| Failure::new(ErrorCode::Precondition, format!("job_id: {why}"));
        if ended.state != JobState::Succeeded {
            return Err(not(format!(
                "the job has not ended well: it is {}",
                ended.state
            )));
        }
        if ended.node.as_deref() != Some(on.as_str()) {
            return Err(not(
                "the job did not run on the node of the reservation".to_owned()
            ));
        }
        let began = ended.started_at.unwrap_or(ended.submitted_at);
        if ended
            .ended_at
            .is_some_and(|at| at < known.reservation.starts_at)
            || began > known.reservation.ends_at
        {
            return Err(not(
                "the job did not run while the node was reserved".to_owned()
            ));
        }
        // By the one id of it, whatever name he uses.
        let counted = self
            .inner
            .store
            .count_job(known.reservation.id.0, &ended.id);
        counted.await.map_err(|error| store_failed(&error))?;
        let now = self.inner.store.said(known.reservation.id.0).await;
        said.jobs_completed = now.map_err(|error| store_failed(&error))?.jobs_completed;
        Ok(view(who, known, said, UnixMillis::now()))
    }

    async fn readmit(&self, who: &Principal, id: &str) -> Result<Reserved, Failure> {
        let (client, known, said) = self.taken(who, id).await?;
        if known.reservation.state != Stands::Active {
            return Err(over(&known.reservation));
        }
        let job = match &said.job {
            Some(job) => self.inner.store.find(who, job).await,
            None => Ok(None),
        };
        let job = job.map_err(|error| store_failed(&error))?;
        // What the index does not renew does not run any more.
        let assignment = match job
            .filter(|job| job.ended.is_none())
            .and_then(|job| job.job)
        {
            Some(job) => client.assignment(job).await.ok(),
            None => None,
        };
        Ok(Reserved {
            reservation: view(who, known, said, UnixMillis::now()),
            assignment,
        })
    }
}

fn fits(beat: &Beat) -> Result<(), Failure> {
    let (most, longest) = MAX_METRICS;
    if !(0.0..=1.0).contains(&beat.progress) {
        return Err(Failure::invalid("job_progress: give 0 to 1"));
    }
    if beat.metrics.len() > most || beat.metrics.keys().any(|name| name.len() > longest) {
        let message =
            format!("current_metrics: give {most} at most, with names of {longest} bytes");
        return Err(Failure::invalid(message));
    }
    if beat.metrics.values().any(|value| !value.is_finite()) {
        return Err(Failure::invalid("current_metrics: give finite numbers"));
    }
    Ok(())
}

fn unknown(id: &str) -> Failure {
    Failure::not_found(format!("no reservation {id:?} of yours is known here"))
}

fn over(reservation: &Reservation) -> Failure {
    let message = format!("the reservation is over: {}", reservation.state);
    Failure::new(ErrorCode::Precondition, message)
}

fn view(who: &Principal, known: Known, said: Said, now: UnixMillis) -> ReservationView {
    let is = known.reservation;
    let since = |at: UnixMillis| Duration::from_millis(now.0.saturating_sub(at.0));
    let span =
        |from: UnixMillis, to: UnixMillis| Duration::from_millis(to.0.saturating_sub(from.0));
    ReservationView {
        id: is.id.to_string(),
        owner: who.clone(),
        node: is.node,
        address: known.address,
        state: state(is.state, &said),
        starts_at: is.starts_at,
        ends_at: is.ends_at,
        left: Duration::from_millis(is.left(now).0),
        used: is.closed_at.map(|at| span(is.starts_at, at)),
        price: is.price.0,
        held: is.held.0,
        paid: is.paid.0,
        refunded: is.refunded().0,
        movements: Vec::new(),
        job: said.job,
        progress: said.progress,
        metrics: said.metrics,
        jobs_completed: said.jobs_completed,
        is_attended: said.heard_at.is_some_and(|at| since(at) < AWAY_AFTER),
    }
}

const fn state(stands: Stands, said: &Said) -> ReservationState {
    match stands {
        Stands::Active if said.heard_at.is_none() => ReservationState::Pending,
        Stands::Active => ReservationState::Active,
        Stands::Lost => ReservationState::Lost,
        Stands::Released | Stands::Expired if said.done => ReservationState::Completed,
        Stands::Released => ReservationState::Cancelled,
        Stands::Expired => ReservationState::Expired,
    }
}

/// What a refusal of the index means to a foreign client, by its stable word.
fn refused(error: &ClientError) -> Failure {
    let Some(word) = error.refusal() else {
        return failure(error);
    };
    let code = match word {
        "no_reservation" | "not_owner" => ErrorCode::NotFound,
        "length" | "shorter" => ErrorCode::Invalid,
        "reservation_over" | "not_live" | "draining" | "busy" | "already_reserved" | "too_dear"
        | "insufficient_funds" => ErrorCode::Precondition,
        "too_many_reservations"
        | "reservations_full"
        | "too_many_extensions"
        | "too_many_holds"
        | "holds_full"
        | "too_many_accounts" => ErrorCode::Exhausted,
        _ => ErrorCode::Denied,
    };
    Failure::new(code, failure(error).message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_is_used_once_its_owner_was_heard_of_and_done_when_he_says_so() {
        let heard = Said {
            heard_at: Some(UnixMillis(1)),
            ..Said::default()
        };
        let done = Said {
            done: true,
            ..heard.clone()
        };
        for (stands, said, expected) in [
            (Stands::Active, &Said::default(), ReservationState::Pending),
            (Stands::Active, &heard, ReservationState::Active),
            (Stands::Released, &heard, ReservationState::Cancelled),
            (Stands::Released, &done, ReservationState::Completed),
            (Stands::Expired, &heard, ReservationState::Expired),
            (Stands::Expired, &done, ReservationState::Completed),
            (Stands::Lost, &done, ReservationState::Lost),
        ] {
            assert_eq!(state(stands, said), expected, "{stands} {said:?}");
        }
    }

    #[test]
    fn a_refusal_is_told_by_its_word() {
        for (word, code) in [
            ("already_reserved", ErrorCode::Precondition),
            ("busy", ErrorCode::Precondition),
            ("length", ErrorCode::Invalid),
            ("not_owner", ErrorCode::NotFound),
            ("reservations_full", ErrorCode::Exhausted),
        ] {
            let error = ClientError::Refused {
                who: "index".to_owned(),
                code: word.to_owned(),
                message: "why".to_owned(),
            };
            assert_eq!(refused(&error).code, code, "{word}");
        }
    }

    #[test]
    fn a_sign_of_life_has_numbers_that_are_some() {
        let beat = |progress, value| Beat {
            progress,
            metrics: [("loss".to_owned(), value)].into(),
            ..Beat::default()
        };
        fits(&beat(1.0, 0.5)).unwrap();
        for (progress, value) in [(1.1, 0.5), (-0.1, 0.5), (f64::NAN, 0.5), (0.5, f64::NAN)] {
            assert!(fits(&beat(progress, value)).is_err());
        }
    }
}
