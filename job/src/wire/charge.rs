//! What jobs cost, as an index shows it to clients.

use embermesh_crypto::PeerId;
use embermesh_proto::v1;
use serde::Serialize;

use super::{InvalidMessage, list, peer, text};
use crate::{bill::Quote, reservation::ReservationId, units::MicroUnits};

/// What a job costs its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Charge {
    /// The most that it may cost; nothing for a job without a budget.
    pub budget: Option<MicroUnits>,
    /// What an hour of the newest attempt costs, once there is one.
    pub price: Option<MicroUnits>,
    /// What that attempt costs at most.
    pub at_most: MicroUnits,
    /// What the job has cost, once it has ended.
    pub charged: Option<MicroUnits>,
    /// The reservation that pays for the newest attempt.
    pub reservation: Option<ReservationId>,
}

impl From<Charge> for v1::Charge {
    fn from(charge: Charge) -> Self {
        Self {
            budget_micros: charge.budget.unwrap_or_default().0,
            price_micros_per_hour: charge.price.map(|price| price.0),
            at_most_micros: charge.at_most.0,
            charged_micros: charge.charged.map(|charged| charged.0),
            reservation: charge.reservation.map_or(0, |id| id.0),
        }
    }
}

impl From<v1::Charge> for Charge {
    fn from(wire: v1::Charge) -> Self {
        Self {
            budget: (wire.budget_micros > 0).then_some(MicroUnits(wire.budget_micros)),
            price: wire.price_micros_per_hour.map(MicroUnits),
            at_most: MicroUnits(wire.at_most_micros),
            charged: wire.charged_micros.map(MicroUnits),
            reservation: (wire.reservation > 0).then_some(ReservationId(wire.reservation)),
        }
    }
}

/// What a job may cost, and why other nodes could not run it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quoted {
    /// By the prices of the nodes that could.
    #[serde(flatten)]
    pub quote: Quote,
    /// The others: node, stable word, and the same for people.
    pub passed_over: Vec<(PeerId, String, String)>,
}

impl From<Quoted> for v1::QuoteResponse {
    fn from(quoted: Quoted) -> Self {
        Self {
            nodes: quoted.quote.nodes,
            least_micros: quoted.quote.least.0,
            most_micros: quoted.quote.most.0,
            passed_over: quoted
                .passed_over
                .into_iter()
                .map(|(node, code, message)| v1::PassedOver {
                    node_id: node.to_string(),
                    code,
                    message,
                })
                .collect(),
        }
    }
}

impl TryFrom<v1::QuoteResponse> for Quoted {
    type Error = InvalidMessage;

    fn try_from(wire: v1::QuoteResponse) -> Result<Self, Self::Error> {
        Ok(Self {
            quote: Quote {
                nodes: wire.nodes,
                least: MicroUnits(wire.least_micros),
                most: MicroUnits(wire.most_micros),
            },
            passed_over: list("passed_over", wire.passed_over, |passed| {
                Ok((
                    peer("passed_over.node_id", &passed.node_id)?,
                    text("passed_over.code", passed.code)?,
                    text("passed_over.message", passed.message)?,
                ))
            })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Keypair;

    use super::*;

    #[test]
    fn a_charge_comes_back_as_it_went() {
        let whole = Charge {
            budget: Some(MicroUnits(9)),
            price: Some(MicroUnits(0)),
            at_most: MicroUnits(7),
            charged: Some(MicroUnits(0)),
            reservation: Some(ReservationId(3)),
        };
        for charge in [Charge::default(), whole] {
            assert_eq!(Charge::from(v1::Charge::from(charge.clone())), charge);
        }
    }

    #[test]
    fn a_quote_comes_back_as_it_went() {
        let node = Keypair::from_seed(&[1; 32]).peer_id();
        let quoted = Quoted {
            quote: Quote {
                nodes: 2,
                least: MicroUnits(3),
                most: MicroUnits(4),
            },
            passed_over: vec![(node, "draining".to_owned(), "is about to stop".to_owned())],
        };
        let wire = v1::QuoteResponse::from(quoted.clone());
        assert_eq!(Quoted::try_from(wire), Ok(quoted));
    }
}
