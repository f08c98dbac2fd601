//! What this process says of itself, before the mesh signs it.

use embermesh_crypto::{
    ids::{NetworkName, PeerId},
    statement::{Advert, DeviceAdvert, ModelAdvert, Role, Runtimes},
};

use crate::protocol::Ticket;

/// What an advert says, beside what the mesh fills in: who, where, which number,
/// from when until when.
#[derive(Debug, Clone, PartialEq)]
pub struct AdvertDraft {
    /// What this process is.
    pub role: Role,
    /// Version of the program.
    pub version: String,
    /// `host:port` of the TLS road, the likeliest to be reached first.
    pub tls_addresses: Vec<String>,
    /// Where it stands, as its owner names it.
    pub region: String,
    /// Price of an hour, in micro-units.
    pub price_micros_per_hour: u64,
    /// Devices that take jobs.
    pub devices: Vec<DeviceAdvert>,
    /// Jobs that can run at once.
    pub slots: u32,
    /// Of these, how many are free.
    pub free_slots: u32,
    /// Jobs that wait for a slot.
    pub queued: u32,
    /// Nothing more is taken on.
    pub draining: bool,
    /// Which fences around a job's process its system lacks.
    pub missing_fences: Option<String>,
    /// Which programs of clients may run here.
    pub runtimes: Runtimes,
    /// Resident models, those first that matter most: what does not fit is left out.
    pub models: Vec<ModelAdvert>,
    /// How many more resident models are taken on.
    pub free_residents: u32,
}

impl AdvertDraft {
    pub(crate) fn advert(
        &self,
        peer: PeerId,
        network: &NetworkName,
        ticket: Ticket,
        mesh_addresses: Vec<String>,
    ) -> Advert {
        Advert {
            peer,
            network: network.clone(),
            sequence: ticket.sequence,
            issued_at: ticket.issued_at,
            expires_at: ticket.expires_at,
            role: self.role,
            version: self.version.clone(),
            mesh_addresses,
            tls_addresses: self.tls_addresses.clone(),
            region: self.region.clone(),
            price_micros_per_hour: self.price_micros_per_hour,
            devices: self.devices.clone(),
            slots: self.slots,
            free_slots: self.free_slots,
            queued: self.queued,
            draining: self.draining,
            missing_fences: self.missing_fences.clone(),
            runtimes: self.runtimes,
            models: self.models.clone(),
            free_residents: self.free_residents,
        }
    }
}
