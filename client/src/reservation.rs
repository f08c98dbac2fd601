//! Reservations at an index: a node for this client's jobs alone, for a time. Each call
//! is sent again by itself while the index cannot be reached.

use bytes::Bytes;
use embermesh_crypto::ids::PeerId;
use embermesh_job::{
    reservation::ReservationId,
    units::{MicroUnits, Millis},
};
use embermesh_proto::v1::{self, reservations_client::ReservationsClient};

pub use embermesh_job::wire::ReservationView;

use crate::{Client, ClientError, IdempotencyKey, bounds::PAGE, view::convert};

/// The methods of the reservations.
impl Client {
    /// Takes a node for this client's jobs alone, for `length` from now, at its price
    /// or at `max_price` for an hour at most. The whole is held in the client's account.
    /// Sent again with the same key, it names the same reservation.
    ///
    /// # Errors
    /// When the node is not to be had, there is too little money, or the index cannot
    /// be reached for a while.
    pub async fn reserve(
        &self,
        key: IdempotencyKey,
        node: PeerId,
        length: Millis,
        max_price: Option<MicroUnits>,
    ) -> Result<ReservationView, ClientError> {
        let request = v1::ReserveRequest {
            idempotency_key: Bytes::copy_from_slice(&key.bytes()),
            node_id: node.to_string(),
            length_ms: length.0,
            max_price_micros_per_hour: max_price.map(|price| price.0),
        };
        let answer = self
            .index()
            .ask(
                ReservationsClient::new,
                request,
                |mut stub, request| async move { stub.reserve(request).await },
            )
            .await?;
        convert(self.index().name(), answer)
    }

    /// Makes a reservation last for `length` in all, counted from its start. One that
    /// has that length already is answered as it is.
    ///
    /// # Errors
    /// When it is over or another's, would be shorter, reaches too far ahead, or there
    /// is too little money.
    pub async fn extend_reservation(
        &self,
        id: ReservationId,
        length: Millis,
    ) -> Result<ReservationView, ClientError> {
        let request = v1::ExtendRequest {
            id: id.0,
            length_ms: length.0,
        };
        let answer = self
            .index()
            .ask(
                ReservationsClient::new,
                request,
                |mut stub, request| async move { stub.extend(request).await },
            )
            .await?;
        convert(self.index().name(), answer)
    }

    /// Gives a reserved node back: what has passed is paid, the rest is refunded. One
    /// that has come to its end already is answered as it is.
    ///
    /// # Errors
    /// When there is none, or it is another's.
    pub async fn release_reservation(
        &self,
        id: ReservationId,
    ) -> Result<ReservationView, ClientError> {
        let request = v1::ReleaseRequest { id: id.0 };
        let answer = self
            .index()
            .ask(
                ReservationsClient::new,
                request,
                |mut stub, request| async move { stub.release(request).await },
            )
            .await?;
        convert(self.index().name(), answer)
    }

    /// A reservation: of this client, of a node with this key, or any for an
    /// administrator.
    ///
    /// # Errors
    /// When there is none that the caller may see.
    pub async fn reservation(&self, id: ReservationId) -> Result<ReservationView, ClientError> {
        let request = v1::GetReservationRequest { id: id.0 };
        let answer = self
            .index()
            .ask(
                ReservationsClient::new,
                request,
                |mut stub, request| async move { stub.get_reservation(request).await },
            )
            .await?;
        convert(self.index().name(), answer)
    }

    /// The newest reservations of this client, or of the node with its key, at most
    /// `most`; of the active ones alone where `active` says so.
    ///
    /// # Errors
    /// When the index cannot be reached for a while.
    pub async fn reservations(
        &self,
        active: bool,
        most: usize,
    ) -> Result<Vec<ReservationView>, ClientError> {
        let mut found = Vec::new();
        let mut page_token = String::new();
        while found.len() < most {
            let left = u32::try_from(most - found.len()).unwrap_or(PAGE);
            let request = v1::ListReservationsRequest {
                page_size: left.min(PAGE),
                page_token: page_token.clone(),
                active_only: active,
            };
            let page = self
                .index()
                .ask(
                    ReservationsClient::new,
                    request,
                    |mut stub, request| async move { stub.list_reservations(request).await },
                )
                .await?;
            // A page that leads to itself, or on and on without an entry, would never end.
            let last = page.next_page_token.is_empty()
                || page.next_page_token == page_token
                || page.reservations.is_empty();
            for reservation in page.reservations {
                found.push(convert(self.index().name(), reservation)?);
            }
            if last {
                break;
            }
            page_token = page.next_page_token;
        }
        found.truncate(most);
        Ok(found)
    }
}
