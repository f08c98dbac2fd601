//! How gossip is set: one topic, every message judged before it is passed on, and
//! peers scored by what they pass on.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use embermesh_crypto::{digest::Digest, ids::NetworkName};
use libp2p::gossipsub::{
    self, ConfigBuilder, IdentTopic, Message, MessageAuthenticity, MessageId, PeerScoreParams,
    PeerScoreThresholds, TopicScoreParams, ValidationMode, Version, WhitelistSubscriptionFilter,
    score_parameter_decay,
};

use super::traffic::Traffic;
use crate::protocol::{CLOCK_SKEW, MAX_ADVERT_BYTES, MAX_LIFETIME};

/// Gossip over our one topic. Peers cannot make us keep a list of topics.
pub(crate) type Gossip = gossipsub::Behaviour<Traffic, WhitelistSubscriptionFilter>;

/// Bytes of one gossip message: an advert with its envelope, which holds the topic.
const MAX_MESSAGE_BYTES: usize = MAX_ADVERT_BYTES + 512;
/// Bytes of a frame of gossip, which holds many messages and control lists. It must
/// be far above one read of a socket: libp2p measures what is buffered, not the frame.
const MAX_FRAME_BYTES: usize = 64 * 1024;
/// Bytes of the control lists in one frame.
const MAX_CONTROL_BYTES: usize = 16 * 1024;
/// Message ids in one control list. The default of 5000 is more than the bound above
/// lets through, so that in a large mesh honest peers would cut each other off.
const MAX_CONTROL_IDS: usize = 256;
/// Messages waiting for one slow peer. Default: 5000.
const MAX_QUEUED_PER_PEER: usize = 512;
/// Messages taken from one gossip frame. Default: 5000.
const MAX_MESSAGES_PER_FRAME: usize = 512;
/// Peers that gossip goes to and comes from directly. Each link carries a message once
/// (see [`super::pause`]), so that a peer gets it half as often as it has such neighbours:
/// three cost a copy and a half. What a neighbour that dies or lies keeps back comes by
/// the others, by the lists of ids that go to more peers every second, and by the tables
/// that peers ask each other for. libp2p's default of six costs as much again and more.
const MESH_DEGREE: usize = 3;
/// With fewer than this, more are sought.
const MESH_DEGREE_LOW: usize = 2;
/// With more than this, some are let go.
const MESH_DEGREE_HIGH: usize = 4;
/// Of these, how many this process has chosen itself: a crowd that dials in cannot be all
/// that it hears.
const MESH_CHOSEN: usize = 1;
/// How long a neighbour that was let go does not ask again.
const PRUNE_BACKOFF: Duration = Duration::from_secs(10);
/// How often gossip looks after itself, and names what there was lately to some peers.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Peers that are told at each heartbeat which messages there were lately. Whoever has not heard
/// of one asks for it, though it is mostly on its way: each of these costs copies. Three a second
/// for two seconds leave one node in 400 without a word, should all of its neighbours fail.
const LAZY_DEGREE: usize = 3;
/// The heartbeats at which a message is named.
const LISTED: usize = 2;
/// By then a message is named no more, if it is passed on at all.
pub(super) const LISTED_FOR: Duration = HEARTBEAT.saturating_mul(LISTED as u32);
/// The heartbeats for which the bytes of a message are kept: it can be passed on, and asked for.
const KEPT: usize = 8;
/// For so long they are kept at least.
pub(super) const KEPT_FOR: Duration = HEARTBEAT.saturating_mul(KEPT as u32 - 1);
/// The score below which nothing of a peer is heard.
pub(crate) const EXCLUDED_BELOW: f64 = -80.0;
/// Peers from one address before its score suffers. A site's nodes share one
/// address behind its router; the default of 10 would shun a rack.
const PEERS_PER_ADDRESS: f64 = 64.0;

/// The topic of a network's adverts.
pub(crate) fn topic(network: &NetworkName) -> IdentTopic {
    IdentTopic::new(format!("embermesh/{network}/adverts/1"))
}

/// Gossip, subscribed to the adverts of `network`.
pub(crate) fn behaviour(
    network: &NetworkName,
    traffic: &Traffic,
) -> Result<Gossip, Box<dyn std::error::Error + Send + Sync>> {
    let topic = topic(network);
    let filter = WhitelistSubscriptionFilter(HashSet::from([topic.hash()]));
    let mut gossip = Gossip::new_with_subscription_filter_and_transform(
        // An advert carries its author's signature. One more around it would be checked
        // for every copy, and say only who else has repeated it.
        MessageAuthenticity::Anonymous,
        config(network)?,
        filter,
        traffic.clone(),
    )?;
    gossip.with_peer_score(score(&topic), thresholds())?;
    gossip.subscribe(&topic)?;
    Ok(gossip)
}

/// Names a message by its content.
pub(crate) fn message_id(message: &Message) -> MessageId {
    MessageId::from(Digest::of(&message.data).as_bytes().to_vec())
}

fn config(network: &NetworkName) -> Result<gossipsub::Config, gossipsub::ConfigBuilderError> {
    ConfigBuilder::default()
        .protocol_id(format!("/embermesh/{network}/gossip/1"), Version::V1_1)
        // Off by default, and then everything is passed on before anybody looks.
        .validate_messages()
        // An envelope that names or signs anything is refused.
        .validation_mode(ValidationMode::Anonymous)
        // By content, not by publisher and number: the same advert is the same
        // message whoever publishes it, so nobody can repeat it under a new name,
        // and nobody gains by publishing another's advert first.
        .message_id_fn(message_id)
        // Longer than any advert lives, so that a replay is never news.
        .duplicate_cache_time(MAX_LIFETIME + 2 * CLOCK_SKEW)
        .max_transmit_size(MAX_FRAME_BYTES)
        .max_transmit_size_for_topic(MAX_MESSAGE_BYTES, topic(network).hash())
        .max_control_message_size(MAX_CONTROL_BYTES)
        .max_control_messages_sent(MAX_CONTROL_IDS)
        .max_publish_messages(MAX_MESSAGES_PER_FRAME)
        .connection_handler_queue_len(MAX_QUEUED_PER_PEER)
        // An own advert goes to every peer at once, not only to mesh neighbours: it
        // is rare and small, and a joiner has no mesh yet.
        .flood_publish(true)
        .mesh_n(MESH_DEGREE)
        .mesh_n_low(MESH_DEGREE_LOW)
        .mesh_n_high(MESH_DEGREE_HIGH)
        .mesh_outbound_min(MESH_CHOSEN)
        // Those of the best score that stay when some are let go, and those of them that
        // were chosen here; both must fit the degree.
        .retain_scores(1)
        // A minute by default, in which a peer that came when all places were taken would
        // not be let in although some have become free.
        .prune_backoff(PRUNE_BACKOFF)
        .gossip_lazy(LAZY_DEGREE)
        // A quarter of all connections by default, where that is more.
        .gossip_factor(0.0)
        // Word that no copy is needed (gossipsub 1.2, IDONTWANT) is left to messages above
        // libp2p's kilobyte. Of adverts, a third of that, it saved four copies in a hundred
        // and cost three messages for each that is delivered.
        .heartbeat_interval(HEARTBEAT)
        .history_gossip(LISTED)
        .history_length(KEPT)
        // Five seconds by default, in which a joiner has no mesh.
        .heartbeat_initial_delay(Duration::from_millis(100))
        // Peer exchange would let strangers make us dial; Kademlia finds peers.
        .prune_peers(0)
        .build()
}

fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -10.0,
        publish_threshold: -50.0,
        graylist_threshold: EXCLUDED_BELOW,
        // No score is high enough: peer exchange is off.
        accept_px_threshold: 1_000.0,
        opportunistic_graft_threshold: 1.0,
    }
}

fn score(topic: &IdentTopic) -> PeerScoreParams {
    let adverts = TopicScoreParams {
        topic_weight: 1.0,
        // Staying earns a little, up to three points after five minutes. The
        // default quantum of a millisecond would hand out all of it in seconds.
        time_in_mesh_weight: 0.01,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 300.0,
        first_message_deliveries_weight: 0.2,
        first_message_deliveries_decay: score_parameter_decay(Duration::from_secs(120)),
        first_message_deliveries_cap: 50.0,
        // Off: adverts are rare, and a quiet minute is no failure to deliver.
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        // The square of the count: one forged advert costs 10, three exclude.
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: score_parameter_decay(Duration::from_secs(600)),
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: [(topic.hash(), adverts)].into(),
        topic_score_cap: 13.0,
        app_specific_weight: 0.0,
        ip_colocation_factor_weight: -5.0,
        ip_colocation_factor_threshold: PEERS_PER_ADDRESS,
        // Many processes on one machine are a test or a demo, not an attack.
        ip_colocation_factor_whitelist: [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]
        .into_iter()
        .collect(),
        behaviour_penalty_weight: -10.0,
        behaviour_penalty_threshold: 2.0,
        behaviour_penalty_decay: score_parameter_decay(Duration::from_secs(60)),
        // Remembered for longer than an excluded peer needs to come back with the
        // same key, but not for the default of an hour.
        retain_score: Duration::from_secs(900),
        ..PeerScoreParams::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_valid() {
        let network = NetworkName::default();
        score(&topic(&network)).validate().unwrap();
        thresholds().validate().unwrap();
        let config = config(&network).unwrap();
        assert!(config.validate_messages());
        assert_eq!(
            config.max_transmit_size_for_topic(&topic(&network).hash()),
            MAX_MESSAGE_BYTES
        );
        // A full list of ids, each with its two bytes of head, fits the control bound.
        const { assert!(MAX_CONTROL_IDS * (32 + 2) + 256 < MAX_CONTROL_BYTES) }
        behaviour(&network, &Traffic::default()).unwrap();
    }
}
