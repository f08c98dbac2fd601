//! The service for reservations. What is changed goes through the state machine, what is
//! only looked at comes from the disk.

use std::collections::BTreeMap;

use embermesh_crypto::ids::PeerId;
use embermesh_job::{
    address::PeerAddress,
    reservation::{self, Reservation, ReservationId},
    units::Millis,
    wire::ReservationView,
};
use embermesh_mesh::road::Caller;
use embermesh_proto::v1::{self, reservations_server};
use tonic::{Code, Request, Response, Status};

use super::{
    index::mismatch,
    parse, render,
    status::{read_failed, status},
};
use crate::{
    actor::{CallFailed, Handle},
    state::{Command, Refused, Reply},
    store::Reader,
};

/// Serves `embermesh.v1.Reservations`.
pub(super) struct ReservationService {
    pub(super) handle: Handle,
    pub(super) reader: Reader,
}

type Answer = Result<Response<v1::Reservation>, Status>;

impl ReservationService {
    /// A command about a reservation. What the state machine has nothing to do with any
    /// more is answered from the disk, to whom it is to be seen by.
    async fn change(&self, caller: PeerId, command: Command) -> Answer {
        match self.handle.call(command).await {
            Ok(Reply::Reserved(view)) => Ok(Response::new((*view).into())),
            Ok(Reply::ReservedBefore(id)) => self.shown(caller, id).await,
            Ok(_) => Err(mismatch()),
            Err(failed) => Err(status(&failed)),
        }
    }

    /// A reservation, for whom it is to be seen by.
    async fn shown(&self, caller: PeerId, id: ReservationId) -> Answer {
        let found = self.reader.reservation(id).await;
        let found = found.map_err(|error| read_failed(&error))?;
        let found = found.ok_or_else(|| refusal(reservation::Refused::Unknown(id)))?;
        let (administrator, addresses) = self.locate(caller, vec![found.node]).await?;
        if ![found.client, found.node].contains(&caller) && !administrator {
            return Err(refusal(reservation::Refused::NotOwner(id)));
        }
        Ok(Response::new(view(found, &addresses).into()))
    }

    async fn locate(
        &self,
        caller: PeerId,
        nodes: Vec<PeerId>,
    ) -> Result<(bool, BTreeMap<PeerId, PeerAddress>), Status> {
        let located = self.handle.call(Command::Locate { caller, nodes }).await;
        match located.map_err(|failed| status(&failed))? {
            Reply::Located {
                administrator,
                addresses,
            } => Ok((administrator, addresses)),
            _ => Err(mismatch()),
        }
    }
}

fn view(reservation: Reservation, addresses: &BTreeMap<PeerId, PeerAddress>) -> ReservationView {
    ReservationView {
        address: addresses.get(&reservation.node).cloned(),
        reservation,
    }
}

fn refusal(refused: reservation::Refused) -> Status {
    status(&CallFailed::Refused(Refused::Reservation(refused)))
}

#[tonic::async_trait]
impl reservations_server::Reservations for ReservationService {
    async fn reserve(&self, request: Request<v1::ReserveRequest>) -> Answer {
        let caller = Caller::peer_of(&request)?;
        let ask = parse::reserve(request.get_ref())?;
        self.change(caller, Command::Reserve { caller, ask }).await
    }

    async fn extend(&self, request: Request<v1::ExtendRequest>) -> Answer {
        let caller = Caller::peer_of(&request)?;
        let request = request.into_inner();
        let extend = Command::ExtendReservation {
            caller,
            reservation: ReservationId(request.id),
            length: Millis(request.length_ms),
        };
        self.change(caller, extend).await
    }

    async fn release(&self, request: Request<v1::ReleaseRequest>) -> Answer {
        let caller = Caller::peer_of(&request)?;
        let id = ReservationId(request.into_inner().id);
        let release = Command::ReleaseReservation {
            caller,
            reservation: id,
        };
        match self.change(caller, release).await {
            // It came to its end long ago, or there never was one: the disk knows.
            Err(status) if status.code() == Code::NotFound => self.shown(caller, id).await,
            answer => answer,
        }
    }

    async fn get_reservation(&self, request: Request<v1::GetReservationRequest>) -> Answer {
        let caller = Caller::peer_of(&request)?;
        let id = ReservationId(request.into_inner().id);
        self.shown(caller, id).await
    }

    async fn list_reservations(
        &self,
        request: Request<v1::ListReservationsRequest>,
    ) -> Result<Response<v1::ListReservationsResponse>, Status> {
        let caller = Caller::peer_of(&request)?;
        let filter = parse::reservation_filter(caller, request.get_ref())?;
        let page = self.reader.reservations(&filter).await;
        let page = page.map_err(|error| read_failed(&error))?;
        let nodes = page.iter().map(|one| one.node).collect();
        let (_, addresses) = self.locate(caller, nodes).await?;
        let page = page.into_iter().map(|one| view(one, &addresses));
        let page = render::reservations(page, filter.size);
        Ok(Response::new(page))
    }
}
