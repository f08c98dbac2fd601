//! Many identities of one owner connect with one victim: some send what no honest peer
//! sends, some take places among its neighbours and pass on nothing. A spy among the others
//! hears whatever is passed on.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use embermesh_crypto::ids::{NetworkName, PeerId};
use embermesh_mesh::{
    Limits,
    memory::{Manners, RawPeer},
};
use rand::Rng as _;
use tokio::{sync::broadcast, task::JoinSet};

use super::{
    Crowd, SwarmError,
    hostile::Kind,
    member::{self, Member},
    meter::{most, percentile},
    report::{Chart, Form, Report, share_until},
    scenario::{Scenario, Sybils},
};

/// Honest peers that the spy listens to.
const SPIED_ON: usize = 6;

/// One hostile identity, ready to begin.
struct Sybil {
    peer: RawPeer,
    kind: Kind,
    author: PeerId,
    first: Vec<Vec<u8>>,
    bad: Vec<Vec<u8>>,
}

/// What became of one.
struct Fate {
    /// It was let in at all.
    let_in: bool,
    /// When it was turned away; never, of one that is silent.
    turned_away_s: Option<f64>,
    /// Kept, so that a silent one stays connected.
    peer: RawPeer,
}

pub(super) async fn run(
    scenario: &Scenario,
    sybils: &Sybils,
    report: &mut Report,
) -> Result<(), SwarmError> {
    let mut crowd = Crowd::start(scenario).await?;
    let limits = Limits {
        connections: sybils.victim_connections,
        ..Limits::default()
    };
    let victim = crowd.add_with(limits).await?;
    crowd.whole(Instant::now()).await?;
    let (_spy, mut heard) = spy(&mut crowd).await?;
    let attackers = attackers(&mut crowd, sybils, &victim)?;
    let bad: HashSet<Vec<u8>> = attackers
        .iter()
        .flat_map(|s| s.bad.iter().cloned())
        .collect();
    let liars: Vec<PeerId> = attackers
        .iter()
        .filter(|sybil| !matches!(sybil.kind, Kind::Replays | Kind::Silent))
        .map(|sybil| sybil.author)
        .collect();

    let (began, mut attacks) = (Instant::now(), JoinSet::new());
    for sybil in attackers {
        attacks.spawn(attack(sybil, began, scenario.patience()));
    }
    let honest = honest_changes(&mut crowd, sybils.honest_changes, &victim).await?;
    let fates = attacks.join_all().await;
    let mut forwarded = 0;
    while let Ok(bytes) = heard.try_recv() {
        forwarded += usize::from(bad.contains(&bytes));
    }
    let believed: usize = crowd
        .members
        .iter()
        .map(|member| liars.iter().filter(|liar| member.counts_on(liar)).count())
        .sum();
    report.measure("bad_adverts", bad.len() as f64);
    report.measure("forwarded", forwarded as f64);
    report.measure("believed", believed as f64);
    tell(&crowd, &victim, &fates, &honest, report);
    drop(fates);
    crowd.end().await;
    Ok(())
}

fn tell(crowd: &Crowd, victim: &Member, fates: &[Fate], honest: &[f64], report: &mut Report) {
    let let_in = fates.iter().filter(|fate| fate.let_in).count();
    let still = fates
        .iter()
        .filter(|fate| *fate.peer.connected().borrow() > 0)
        .count();
    let turned_away: Vec<f64> = fates.iter().filter_map(|fate| fate.turned_away_s).collect();
    let honest_peers = victim
        .mesh
        .peers()
        .iter()
        .filter(|view| crowd.members.iter().any(|member| member.id() == view.peer))
        .count();
    report.measure("sybils_let_in", let_in as f64);
    report.measure("sybils_turned_away", turned_away.len() as f64);
    report.measure("turned_away_p50_s", percentile(&turned_away, 0.5));
    report.measure("turned_away_max_s", most(&turned_away));
    report.measure("silent_sybils_at_the_victim", still as f64);
    report.measure("honest_peers_at_the_victim", honest_peers as f64);
    report.measure("honest_p50_s", percentile(honest, 0.5));
    report.measure("honest_max_s", most(honest));
    report.chart(Chart {
        file: "sybils",
        title: format!(
            "{} hostile identities beside {} meshes",
            fates.len(),
            report.nodes
        ),
        x: "seconds after they began, or after an advert changed",
        y: "share, %",
        form: Form::Lines(vec![
            (
                "hostile senders turned away".to_owned(),
                share_until(&turned_away),
            ),
            (
                "meshes that know an honest change, the victim too".to_owned(),
                share_until(honest),
            ),
        ]),
        limits: report
            .limit("honest_max_s", "limit for honest adverts", true)
            .into_iter()
            .collect(),
    });
}

/// Listens to a few honest peers.
async fn spy(crowd: &mut Crowd) -> Result<(RawPeer, broadcast::Receiver<Vec<u8>>), SwarmError> {
    let port = crowd.port();
    let of_member = |member: &Member| format!("/memory/{}", member.port);
    let dial: Vec<String> = crowd.members.iter().take(SPIED_ON).map(of_member).collect();
    let manners = Manners::Hostile(NetworkName::default());
    let spy = RawPeer::start(&member::key(0, port), &manners, &crowd.fabric, port, &dial)?;
    let heard = spy.heard();
    // Ends with the peer, and with it the trial.
    let _ = spy.listeners().wait_for(|count| *count > 0).await;
    Ok((spy, heard))
}

fn attackers(
    crowd: &mut Crowd,
    sybils: &Sybils,
    victim: &Member,
) -> Result<Vec<Sybil>, SwarmError> {
    let dial = [format!("/memory/{}", victim.port)];
    let manners = Manners::Hostile(NetworkName::default());
    let mut all = Vec::with_capacity(sybils.identities);
    for (number, kind) in (0..sybils.identities).zip(Kind::ALL.into_iter().cycle()) {
        let author = member::key(u64::MAX, number as u64);
        let (first, bad) = kind.adverts(&author, sybils.adverts_each);
        let port = crowd.port();
        let key = member::key(1, port);
        all.push(Sybil {
            peer: RawPeer::start(&key, &manners, &crowd.fabric, port, &dial)?,
            kind,
            author: author.peer_id(),
            first,
            bad,
        });
    }
    Ok(all)
}

/// Sends all that it has, and waits until it is turned away.
async fn attack(sybil: Sybil, began: Instant, patience: Duration) -> Fate {
    let let_in = async {
        sybil
            .peer
            .listeners()
            .wait_for(|count| *count > 0)
            .await
            .is_ok()
    };
    let let_in = tokio::time::timeout(patience / 4, let_in).await == Ok(true);
    let mut turned_away_s = None;
    if let_in && sybil.kind != Kind::Silent {
        for bytes in sybil.first.into_iter().chain(sybil.bad) {
            if !sybil.peer.publish(bytes).await {
                break;
            }
        }
        let mut connected = sybil.peer.connected();
        let gone = connected.wait_for(|count| *count == 0);
        if tokio::time::timeout(patience, gone).await.is_ok() {
            turned_away_s = Some(began.elapsed().as_secs_f64());
        }
    }
    Fate {
        let_in,
        turned_away_s,
        peer: sybil.peer,
    }
}

/// Honest adverts change, and it is waited until everybody knows each.
async fn honest_changes(
    crowd: &mut Crowd,
    count: usize,
    victim: &Member,
) -> Result<Vec<f64>, SwarmError> {
    let mut all = Vec::new();
    for round in (1..).take(count) {
        let at = crowd.rng.random_range(0..crowd.members.len());
        let author = crowd.members[at].clone();
        if author.id() == victim.id() {
            continue;
        }
        let began = Instant::now();
        author.change(round).await?;
        let id = author.id();
        let known = crowd.every(
            "an honest advert reaching everybody",
            began,
            move |member| member.round_of(&id) == Some(round),
        );
        all.extend(known.await?);
    }
    Ok(all)
}
