//! Gangs: workers that take on the units of one work together, or not at all.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::NodeName;

/// The most workers of one gang.
pub const MAX_GANG: usize = 128;
/// The most units of one work.
pub const MAX_UNITS: u32 = 1 << 16;
/// The most units that one worker is given, whatever capacity it claims.
pub const MAX_CAPACITY: u32 = 1 << 12;

/// A worker that is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Who.
    pub name: NodeName,
    /// How many units it says that it can take.
    pub capacity: u32,
}

/// A worker of a gang and its part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub name: NodeName,
    /// Which units, ascending, from 0.
    pub units: Vec<u32>,
}

/// Workers that have all units among them; a member's rank is its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gang {
    members: Vec<Member>,
    units: u32,
}

/// Why there is no gang.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGang {
    /// No units, or too many.
    #[error("{0} units are asked for, of 1 to {MAX_UNITS} allowed")]
    Units(u32),
    /// The free workers together are too small.
    #[error("{units} units are asked for, and the free workers have room for {room}")]
    TooSmall {
        /// What is asked for.
        units: u32,
        /// What they have.
        room: u64,
    },
}

impl Gang {
    /// Deals units to as few workers as can take them: the largest first, those
    /// of one size by name, one unit to each in turn until it is full.
    ///
    /// Whoever keeps the workers takes the members from its list in the same
    /// step, so that no two gangs share a worker.
    ///
    /// # Errors
    /// [`NoGang`]; nobody is given anything then.
    pub fn deal(free: &[Worker], units: u32) -> Result<Self, NoGang> {
        if !(1..=MAX_UNITS).contains(&units) {
            return Err(NoGang::Units(units));
        }
        let mut sorted: Vec<(u32, &NodeName)> = free
            .iter()
            .filter(|worker| worker.capacity > 0)
            .map(|worker| (worker.capacity.min(MAX_CAPACITY), &worker.name))
            .collect();
        sorted.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let mut seen = BTreeSet::new();
        sorted.retain(|(_, name)| seen.insert(*name));
        sorted.truncate(MAX_GANG);
        let mut room = 0u64;
        let mut taken = Vec::new();
        for (capacity, name) in sorted {
            room += u64::from(capacity);
            taken.push((capacity, name));
            if room >= u64::from(units) {
                break;
            }
        }
        if room < u64::from(units) {
            return Err(NoGang::TooSmall { units, room });
        }
        Ok(Self {
            members: in_turn(&taken, units),
            units,
        })
    }

    /// The members, by rank.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// How many units they have among them.
    #[must_use]
    pub const fn units(&self) -> u32 {
        self.units
    }

    /// Whether a worker is a member.
    #[must_use]
    pub fn has(&self, worker: &NodeName) -> bool {
        self.members.iter().any(|member| member.name == *worker)
    }
}

/// One unit to each in turn, until all are dealt; there is room for all.
fn in_turn(taken: &[(u32, &NodeName)], units: u32) -> Vec<Member> {
    let mut members: Vec<Member> = taken
        .iter()
        .map(|&(_, name)| Member {
            name: name.clone(),
            units: Vec::new(),
        })
        .collect();
    let mut left = 0..units;
    while !left.is_empty() {
        for (member, &(capacity, _)) in members.iter_mut().zip(taken) {
            let full = member.units.len() >= usize::try_from(capacity).unwrap_or(usize::MAX);
            if !full && let Some(unit) = left.next() {
                member.units.push(unit);
            }
        }
    }
    members
}
