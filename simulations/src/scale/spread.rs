//! One advert over a mesh, with all its nodes: from who publishes it to everybody, by
//! gossip as `mesh::net::gossip` and `mesh::net::pause` set it.
//!
//! The publisher sends it to all it is connected with. Whoever gets it waits a moment of
//! random length and passes it on to those of its few neighbours that have not sent it
//! meanwhile. Every second it tells a few others which adverts there were lately, and who
//! lacks one asks for it. An advert that is only renewed waits longer, and only its publisher
//! tells of it.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    calibration::Calibration,
    random::{mix, share},
};

/// Neighbours that the model has room for.
const MOST: usize = 16;
/// Microseconds of a second: times are whole ones of these.
const MICROS: f64 = 1e6;
/// A time that has not come.
const NEVER: u32 = u32::MAX;

/// How one advert spread.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The share of nodes that got it.
    pub reached: f64,
    /// Copies that a node got, on average, lists of ids not counted.
    pub copies: f64,
    /// Ids in lists that a node got, on average.
    pub ids: f64,
    /// When half of the nodes had it, in seconds.
    pub p50_s: f64,
    /// When 99 of 100 had it.
    pub p99_s: f64,
    /// When all had it that ever got it.
    pub all_s: f64,
}

/// What an advert is to those who hear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It says something new.
    News,
    /// It says that the one before still holds.
    Renewal,
}

/// Who is whose neighbour in gossip.
#[derive(Debug)]
pub struct Graph {
    degree: Vec<u8>,
    neighbours: Vec<u32>,
    width: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A copy arrives from the neighbour at this place of the receiver's list.
    Copy(u8),
    /// A copy arrives from somebody else.
    Other,
    /// The node passes it on.
    Forward,
    /// The node tells others that it has it, for the so-manieth time.
    Tell(u8),
}

/// Numbers, one after the other.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    fn share(&mut self) -> f64 {
        share(self.next())
    }

    fn below(&mut self, most: u32) -> u32 {
        (self.next() % u64::from(most.max(1))) as u32
    }
}

impl Graph {
    /// A mesh of `nodes` nodes, each of which has sought neighbours until it has `degree`,
    /// among those that have fewer than `most`.
    #[must_use]
    pub fn new(nodes: u32, degree: usize, most: usize, seed: u64) -> Self {
        let width = most.clamp(1, MOST);
        let degree = degree.min(width).min(nodes.saturating_sub(1) as usize);
        let mut graph = Self {
            degree: vec![0; nodes as usize],
            neighbours: vec![0; nodes as usize * width],
            width,
        };
        let mut draws = Draws(mix(seed ^ 0x9d));
        for node in 0..nodes {
            // In a small mesh all may be full: then it has fewer.
            for _ in 0..8 * width {
                if graph.of(node).len() >= degree {
                    break;
                }
                let other = draws.below(nodes);
                let fits = other != node
                    && graph.of(other).len() < width
                    && !graph.of(node).contains(&other);
                if fits {
                    graph.join(node, other);
                    graph.join(other, node);
                }
            }
        }
        graph
    }

    /// The neighbours of a node.
    #[must_use]
    pub fn of(&self, node: u32) -> &[u32] {
        let from = node as usize * self.width;
        &self.neighbours[from..from + usize::from(self.degree[node as usize])]
    }

    /// Neighbours of a node, on average.
    #[must_use]
    pub fn mean_degree(&self) -> f64 {
        let sum: u64 = self.degree.iter().map(|degree| u64::from(*degree)).sum();
        sum as f64 / self.degree.len().max(1) as f64
    }

    fn join(&mut self, node: u32, other: u32) {
        let at = node as usize * self.width + usize::from(self.degree[node as usize]);
        self.neighbours[at] = other;
        self.degree[node as usize] += 1;
    }
}

/// One advert on its way.
struct Run<'a> {
    kind: Kind,
    graph: &'a Graph,
    given: &'a Calibration,
    draws: Draws,
    queue: BinaryHeap<Reverse<(u32, u32, What)>>,
    /// When each node first got it.
    got: Vec<u32>,
    /// Which of its neighbours have it, as far as each node knows, a bit each.
    heard: Vec<u16>,
    copies: u64,
    ids: u64,
}

/// Lets a node publish one advert.
#[must_use]
pub fn spread(graph: &Graph, kind: Kind, publisher: u32, given: &Calibration, seed: u64) -> Spread {
    let nodes = graph.degree.len();
    let mut run = Run {
        kind,
        graph,
        given,
        draws: Draws(mix(seed)),
        queue: BinaryHeap::new(),
        got: vec![NEVER; nodes],
        heard: vec![0; nodes],
        copies: 0,
        ids: 0,
    };
    run.publish(publisher);
    while let Some(Reverse((now, node, what))) = run.queue.pop() {
        run.happen(now, node, what);
    }
    run.outcome(publisher)
}

impl Run<'_> {
    fn publish(&mut self, publisher: u32) {
        self.got[publisher as usize] = 0;
        for at in 0..self.graph.of(publisher).len() {
            self.send_to_neighbour(0, publisher, at);
        }
        let nodes = self.got.len() as u32;
        let have = self.graph.of(publisher).len();
        let others = self.given.gossip.connections.min(nodes as usize - 1);
        for _ in have..others.max(have) {
            let to = self.draws.below(nodes);
            self.send(0, to, What::Other);
        }
        self.tell_later(0, publisher, 0);
    }

    fn happen(&mut self, now: u32, node: u32, what: What) {
        match what {
            What::Copy(_) | What::Other => {
                self.copies += 1;
                if let What::Copy(place) = what {
                    self.heard[node as usize] |= 1 << place;
                }
                if self.got[node as usize] == NEVER {
                    self.got[node as usize] = now;
                    let pause = self.pause();
                    self.after(now, pause, node, What::Forward);
                    if self.kind == Kind::News {
                        self.tell_later(now, node, 0);
                    }
                }
            }
            What::Forward => {
                for place in 0..self.graph.of(node).len() {
                    if self.heard[node as usize] & (1 << place) == 0 {
                        self.send_to_neighbour(now, node, place);
                    }
                }
            }
            What::Tell(times) => self.tell(now, node, times),
        }
    }

    fn pause(&mut self) -> f64 {
        let (gossip, share) = (&self.given.gossip, self.draws.share());
        match self.kind {
            Kind::News => gossip.pause_s * share,
            Kind::Renewal => gossip.renewal_wait_s + gossip.renewal_round_s * share,
        }
    }

    fn tell(&mut self, now: u32, node: u32, times: u8) {
        let nodes = self.got.len() as u32;
        for _ in 0..self.given.gossip.lazy.min(nodes as usize - 1) {
            let to = self.draws.below(nodes);
            self.ids += 1;
            if self.got[to as usize] == NEVER {
                // It hears, asks, and is sent it: twice a way before the copy's own.
                let before = self.delay() + self.delay();
                let at = now.saturating_add((before * MICROS) as u32);
                self.send(at, to, What::Other);
            }
        }
        if f64::from(times) + 1.0 < self.given.gossip.told_for {
            self.tell_later(now, node, times + 1);
        }
    }

    fn tell_later(&mut self, now: u32, node: u32, times: u8) {
        let beat = self.given.gossip.heartbeat_s;
        let wait = if times == 0 {
            beat * self.draws.share()
        } else {
            beat
        };
        self.after(now, wait, node, What::Tell(times));
    }

    fn send_to_neighbour(&mut self, now: u32, from: u32, place: usize) {
        let to = self.graph.of(from)[place];
        let back = self.graph.of(to).iter().position(|other| *other == from);
        self.send(
            now,
            to,
            back.map_or(What::Other, |back| What::Copy(back as u8)),
        );
    }

    fn send(&mut self, now: u32, to: u32, what: What) {
        if self.draws.share() < self.given.network.loss {
            return;
        }
        let delay = self.delay();
        self.after(now, delay, to, what);
    }

    fn after(&mut self, now: u32, span_s: f64, node: u32, what: What) {
        let at = now.saturating_add((span_s * MICROS) as u32);
        self.queue.push(Reverse((at, node, what)));
    }

    /// One way: log-normal, by the transform of Box and Muller.
    fn delay(&mut self) -> f64 {
        let network = &self.given.network;
        if network.delay_median_s <= 0.0 {
            return 0.0;
        }
        let (a, b) = (self.draws.share().max(1e-12), self.draws.share());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        network.delay_median_s * (network.delay_sigma * normal).exp()
    }

    fn outcome(self, publisher: u32) -> Spread {
        let nodes = self.got.len();
        let mut times: Vec<u32> = self
            .got
            .iter()
            .enumerate()
            .filter(|(node, at)| *node != publisher as usize && **at != NEVER)
            .map(|(_, at)| *at)
            .collect();
        times.sort_unstable();
        let at = |share: f64| {
            let place = ((times.len() as f64 * share).ceil() as usize).saturating_sub(1);
            times.get(place).map_or(0.0, |at| f64::from(*at) / MICROS)
        };
        let others = nodes.saturating_sub(1).max(1) as f64;
        Spread {
            reached: times.len() as f64 / others,
            copies: self.copies as f64 / times.len().max(1) as f64,
            ids: self.ids as f64 / nodes.max(1) as f64,
            p50_s: at(0.5),
            p99_s: at(0.99),
            all_s: at(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_about_as_many_neighbours_as_it_seeks() {
        let graph = Graph::new(10_000, 3, 4, 1);
        assert!(
            (3.0..=4.0).contains(&graph.mean_degree()),
            "{}",
            graph.mean_degree()
        );
        for node in 0..10_000 {
            for other in graph.of(node) {
                assert!(graph.of(*other).contains(&node), "neighbours of each other");
            }
        }
    }

    #[test]
    fn everybody_is_reached_in_a_time_that_grows_by_the_logarithm() {
        let given = Calibration::of_file().unwrap();
        let time = |nodes: u32| {
            let graph = Graph::new(nodes, given.gossip.degree, given.gossip.degree_high, 1);
            let spread = spread(&graph, Kind::News, 0, &given, 7);
            assert!(spread.reached > 0.999, "{nodes}: {spread:?}");
            spread.p99_s
        };
        let (small, large) = (time(1_000), time(100_000));
        assert!(large > small && large < 3.0 * small, "{small} {large}");
    }

    #[test]
    fn a_link_carries_a_message_once_where_the_pause_is_long() {
        let mut given = Calibration::of_file().unwrap();
        given.network.delay_median_s = 0.0;
        given.network.loss = 0.0;
        given.gossip.connections = 0;
        let graph = Graph::new(5_000, 6, 12, 1);
        let spread = spread(&graph, Kind::News, 0, &given, 1);
        // Each of the links once: half as many as neighbours.
        let once = graph.mean_degree() / 2.0;
        assert!(
            (spread.copies - once).abs() < 0.05 * once,
            "{spread:?} {once}"
        );
        given.gossip.pause_s = 0.0;
        given.network.delay_median_s = 0.05;
        let at_once = super::spread(&graph, Kind::News, 0, &given, 1);
        assert!(at_once.copies > 1.5 * once, "{at_once:?}");
    }

    #[test]
    fn a_renewal_costs_less_and_takes_longer() {
        let given = Calibration::of_file().unwrap();
        let graph = Graph::new(5_000, 3, 4, 1);
        let news = spread(&graph, Kind::News, 0, &given, 1);
        let renewal = spread(&graph, Kind::Renewal, 0, &given, 1);
        assert!(renewal.copies < 0.8 * news.copies, "{news:?} {renewal:?}");
        assert!(renewal.p50_s > 5.0 * news.p50_s, "{news:?} {renewal:?}");
        // What is renewed has a minute left at least.
        assert!(
            renewal.p99_s < 40.0 && renewal.reached > 0.99,
            "{renewal:?}"
        );
    }

    #[test]
    fn what_is_lost_comes_by_the_lists() {
        let mut given = Calibration::of_file().unwrap();
        given.network.loss = 0.3;
        let graph = Graph::new(5_000, 3, 4, 1);
        let told = spread(&graph, Kind::News, 0, &given, 1);
        given.gossip.lazy = 0;
        let untold = spread(&graph, Kind::News, 0, &given, 1);
        assert!(
            told.reached > 0.999 && untold.reached < 0.99,
            "{told:?} {untold:?}"
        );
    }
}
