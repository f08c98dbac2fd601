//! Reservations as an index shows them to clients.

use embermesh_crypto::UnixMillis;
use embermesh_proto::v1;
use serde::Serialize;

use super::{InvalidMessage, peer};
use crate::{
    address::PeerAddress,
    reservation::{Reservation, ReservationId, ReservationState},
    units::MicroUnits,
};

/// A reservation, and where its node can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReservationView {
    /// The reservation.
    #[serde(flatten)]
    pub reservation: Reservation,
    /// Where the node is, when the index knows it.
    pub address: Option<PeerAddress>,
}

impl From<ReservationState> for v1::ReservationState {
    fn from(state: ReservationState) -> Self {
        match state {
            ReservationState::Active => Self::Active,
            ReservationState::Released => Self::Released,
            ReservationState::Expired => Self::Expired,
            ReservationState::Lost => Self::Lost,
        }
    }
}

impl TryFrom<v1::ReservationState> for ReservationState {
    type Error = InvalidMessage;

    fn try_from(wire: v1::ReservationState) -> Result<Self, Self::Error> {
        Ok(match wire {
            v1::ReservationState::Active => Self::Active,
            v1::ReservationState::Released => Self::Released,
            v1::ReservationState::Expired => Self::Expired,
            v1::ReservationState::Lost => Self::Lost,
            v1::ReservationState::Unspecified => return Err(InvalidMessage::missing("state")),
        })
    }
}

impl From<ReservationView> for v1::Reservation {
    fn from(view: ReservationView) -> Self {
        let ReservationView {
            reservation,
            address,
        } = view;
        Self {
            id: reservation.id.0,
            client: reservation.client.to_string(),
            node_id: reservation.node.to_string(),
            state: v1::ReservationState::from(reservation.state).into(),
            starts_at_ms: reservation.starts_at.0,
            ends_at_ms: reservation.ends_at.0,
            price_micros_per_hour: reservation.price.0,
            held_micros: reservation.held.0,
            closed_at_ms: reservation.closed_at.unwrap_or_default().0,
            paid_micros: reservation.paid.0,
            address: address.map(Into::into),
        }
    }
}

impl TryFrom<v1::Reservation> for ReservationView {
    type Error = InvalidMessage;

    fn try_from(wire: v1::Reservation) -> Result<Self, Self::Error> {
        Ok(Self {
            reservation: Reservation {
                state: wire.state().try_into()?,
                id: ReservationId(wire.id),
                client: peer("client", &wire.client)?,
                node: peer("node_id", &wire.node_id)?,
                starts_at: UnixMillis(wire.starts_at_ms),
                ends_at: UnixMillis(wire.ends_at_ms),
                price: MicroUnits(wire.price_micros_per_hour),
                held: MicroUnits(wire.held_micros),
                closed_at: (wire.closed_at_ms > 0).then_some(UnixMillis(wire.closed_at_ms)),
                paid: MicroUnits(wire.paid_micros),
            },
            address: wire.address.map(TryInto::try_into).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Keypair;

    use super::*;

    #[test]
    fn a_reservation_comes_back_as_it_went() {
        let node = Keypair::from_seed(&[2; 32]).peer_id();
        let states = [
            (ReservationState::Active, None),
            (ReservationState::Released, Some(UnixMillis(15))),
            (ReservationState::Expired, Some(UnixMillis(20))),
            (ReservationState::Lost, Some(UnixMillis(18))),
        ];
        for (state, closed_at) in states {
            let sent = ReservationView {
                reservation: Reservation {
                    id: ReservationId(7),
                    client: Keypair::from_seed(&[1; 32]).peer_id(),
                    node,
                    state,
                    starts_at: UnixMillis(10),
                    ends_at: UnixMillis(20),
                    price: MicroUnits(3),
                    held: MicroUnits(4),
                    closed_at,
                    paid: MicroUnits(2),
                },
                address: Some(PeerAddress {
                    peer: node,
                    tls: vec!["127.0.0.1:1".to_owned()],
                    mesh: Vec::new(),
                }),
            };
            let wire = v1::Reservation::from(sent.clone());
            assert_eq!(ReservationView::try_from(wire.clone()), Ok(sent));
            let bare = v1::Reservation { state: 0, ..wire };
            assert!(ReservationView::try_from(bare).is_err());
        }
    }
}
