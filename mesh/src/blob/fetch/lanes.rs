//! Several holders at once: each gives pieces of what is missing, as fast as it can.
//!
//! A piece is what its holder gave in about half a second, so that a slow one has little in
//! hand when the others are done. Each is asked for the next piece before the one in hand has
//! come, so that no round trip passes between the two. What a holder that fails had in hand
//! goes back; whatever is left in the end is asked for by one holder after the other.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use embermesh_crypto::ids::PeerId;
use futures::{StreamExt as _, stream::FuturesUnordered};

use super::{
    FetchError, Progress,
    draw::{Fetch, is_lie},
};
use crate::{
    blob::{
        StoreError, geometry::Groups, partial::Partial, receive::Ended, source::Source,
        wire::MAX_RANGES,
    },
    road::{self, Protocol, RoadKind, Target},
};

/// Holders that are asked at one time.
const LANES: usize = 4;
/// Bytes of which less is asked for from one holder.
const LEAST_BYTES: u64 = 4 << 20;
/// Bytes of the first piece of a holder, and the least that one is asked for.
const FIRST_PIECE_BYTES: u64 = 512 * 1024;
/// Bytes of a piece at most.
const MAX_PIECE_BYTES: u64 = 64 << 20;
/// How long a holder takes for a piece, about.
const PIECE_TIME: Duration = Duration::from_millis(500);
/// Pieces that one holder is asked for at one time.
const ASKED: usize = 2;

/// What the lanes share.
struct Pool {
    /// What no lane has in hand.
    free: Groups,
    partial: Partial,
    received: u64,
    /// Who gave some of it, in the order of their first pieces.
    from: Vec<(PeerId, RoadKind)>,
}

impl Pool {
    /// A piece of about so many bytes, and where it goes; nothing when all are in hand.
    fn claim(&mut self, bytes: u64) -> Result<Option<(Groups, Partial)>, StoreError> {
        let share = self.free.bytes() / (LANES * ASKED) as u64;
        let bytes = bytes.min(share.max(FIRST_PIECE_BYTES));
        let piece = self.free.take(bytes, MAX_RANGES);
        if piece.is_empty() {
            return Ok(None);
        }
        let part = self.partial.part(piece.clone())?;
        Ok(Some((piece, part)))
    }

    /// Takes in what has come of a piece: all but what is left of it.
    fn settle(&mut self, piece: &Groups, left: &Groups) {
        self.partial.absorb(piece, left);
        self.free.put_back(left);
    }
}

/// A piece that a holder has been asked for.
struct Asked {
    piece: Groups,
    part: Partial,
    at: Instant,
}

/// How the work of one lane ended, and whether anything came by it.
type Lane = (Target, bool, Result<(), Ended>);

impl Fetch<'_> {
    /// Whether several holders are worth asking at once.
    pub(super) fn is_for_many(&self, holders: &[Target]) -> bool {
        let missing = self
            .partial
            .as_ref()
            .map(|partial| partial.missing().bytes());
        holders.len() > 1 && missing >= Some(LEAST_BYTES)
    }

    /// Asks the first holders at once, and gives those that may be asked again.
    pub(super) async fn ask_many(
        &mut self,
        mut holders: Vec<Target>,
    ) -> Result<Vec<Target>, FetchError> {
        let Some(partial) = self.partial.take() else {
            return Ok(holders);
        };
        let rest = holders.split_off(holders.len().min(LANES));
        let pool = Mutex::new(Pool {
            free: partial.missing().clone(),
            received: partial.present_bytes(),
            partial,
            from: Vec::new(),
        });
        let mut ended = Vec::with_capacity(holders.len());
        let mut broken = None;
        {
            let this = &*self;
            let lanes = holders.into_iter().map(|holder| this.lane(&pool, holder));
            // Boxed: each holds a connection.
            let mut lanes: FuturesUnordered<_> = lanes.map(Box::pin).collect();
            while let Some((holder, gave, end)) = lanes.next().await {
                match end {
                    Ok(()) => ended.push((holder, gave, None)),
                    Err(Ended::Holder(fault)) => ended.push((holder, gave, Some(fault))),
                    Err(Ended::Store(error)) => {
                        broken = Some(error);
                        break;
                    }
                }
            }
        }
        if let Some(error) = broken {
            return Err(self.broken(error).await);
        }
        let pool = pool.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.partial = Some(pool.partial);
        self.from.extend(pool.from);
        let mut again = Vec::new();
        for (holder, gave, fault) in ended {
            let Some(fault) = fault else {
                again.push(holder);
                continue;
            };
            if fault.may_pass() || gave && !is_lie(&fault) {
                again.push(holder.clone());
            }
            self.note(&holder, fault);
        }
        again.extend(rest);
        Ok(again)
    }

    async fn lane(&self, pool: &Mutex<Pool>, holder: Target) -> Lane {
        let mut gave = false;
        let end = self.draw_pieces(pool, &holder, &mut gave).await;
        (holder, gave, end)
    }

    /// Draws pieces from one holder until none is left.
    async fn draw_pieces(
        &self,
        pool: &Mutex<Pool>,
        holder: &Target,
        gave: &mut bool,
    ) -> Result<(), Ended> {
        let fetcher = self.fetcher;
        let (identity, mesh) = (&fetcher.identity, fetcher.mesh.as_ref());
        let opened = road::open(identity, holder, mesh, fetcher.choice, Protocol::Blob)
            .await
            .map_err(|error| Ended::Holder(error.into()))?;
        let who = (opened.peer, opened.road);
        let mut source = Source {
            stream: opened.stream,
            digest: self.digest,
            patience: fetcher.patience,
        };
        let mut hand = VecDeque::with_capacity(ASKED);
        let end = self.draw_by(pool, who, &mut source, &mut hand, gave).await;
        let mut pool = lock(pool);
        for Asked { piece, .. } in hand {
            pool.settle(&piece, &piece);
        }
        end
    }

    /// The same by a connection. What is in hand in the end has not come.
    async fn draw_by(
        &self,
        pool: &Mutex<Pool>,
        who: (PeerId, RoadKind),
        source: &mut Source,
        hand: &mut VecDeque<Asked>,
        gave: &mut bool,
    ) -> Result<(), Ended> {
        let mut bytes = FIRST_PIECE_BYTES;
        // When the last piece had come.
        let mut came: Option<Instant> = None;
        loop {
            while hand.len() < ASKED {
                let claimed = lock(pool).claim(bytes).map_err(Ended::Store)?;
                let Some((piece, part)) = claimed else {
                    break;
                };
                let at = Instant::now();
                hand.push_back(Asked { piece, part, at });
                let piece = hand.back().map(|asked| &asked.piece);
                source.request(piece).await.map_err(Ended::Holder)?;
            }
            let Some(first) = hand.front() else {
                return Ok(());
            };
            let answer = source.answer(Some(&first.piece)).await;
            answer.map_err(Ended::Holder)?;
            let Some(Asked { piece, part, at }) = hand.pop_front() else {
                return Ok(());
            };
            let began = came.map_or(at, |came| came.max(at));
            let before = part.missing().bytes();
            let mut counted = 0;
            let tell = |part: &Partial| {
                let come = before - part.missing().bytes();
                let mut pool = lock(pool);
                pool.received += come - counted;
                counted = come;
                self.tell_of(who, pool.received, pool.partial.size());
            };
            let (part, end) = source.take(part, &piece, tell).await;
            let left = part.map_or_else(|| piece.clone(), |part| part.missing().clone());
            let come = before - left.bytes();
            {
                let mut pool = lock(pool);
                pool.settle(&piece, &left);
                if come > 0 && !pool.from.contains(&who) {
                    pool.from.push(who);
                }
            }
            *gave |= come > 0;
            end?;
            let now = Instant::now();
            let took = now.saturating_duration_since(began);
            let rate = come as f64 / took.as_secs_f64().max(f64::EPSILON);
            let next = (rate * PIECE_TIME.as_secs_f64()) as u64;
            bytes = next.clamp(FIRST_PIECE_BYTES, MAX_PIECE_BYTES);
            came = Some(now);
        }
    }

    fn tell_of(&self, (peer, road): (PeerId, RoadKind), received: u64, size: u64) {
        if let Some(progress) = self.progress {
            progress.send_replace(Progress {
                received,
                size,
                holder: Some(peer),
                road: Some(road),
            });
        }
    }
}

/// What is shared is whole whatever became of the thread that changed it.
fn lock(pool: &Mutex<Pool>) -> MutexGuard<'_, Pool> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}
