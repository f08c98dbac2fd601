//! Models, deployments and reservations of the port in memory.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use embermesh_crypto::{Digest, Keypair, UnixMillis};
use embermesh_dialects::{
    ErrorCode, Failure,
    port::{
        Principal,
        deployments::{
            Answered, Deploy, DeploymentFilter, DeploymentPage, DeploymentState, DeploymentView,
            Deployments, Inference, Measure, Signature,
        },
        registry::{
            ModelEntry, ModelFilter, ModelFormat, ModelPage, NewModel, Piece, Reading, Registry,
            Whole,
        },
        reservations::{
            Beat, Leave, ReservationFilter, ReservationPage, ReservationState, ReservationView,
            Reservations, Reserve, Reserved,
        },
    },
};
use embermesh_job::{
    ask::{Ask, Part},
    assignment::NodeAssignment,
};
use futures::stream::{self, BoxStream, StreamExt as _};

use crate::port::Memory;

/// What the port has been told of these.
#[derive(Default)]
pub(crate) struct Rooms {
    /// Models, each with its bytes so far.
    pub(crate) models: Vec<(ModelEntry, Vec<u8>)>,
    /// The pieces that came in.
    pub(crate) pieces: Vec<Piece>,
    /// What lists were asked for.
    pub(crate) filters: Vec<ModelFilter>,
    /// Deployments, each with what was asked for.
    pub(crate) deployed: Vec<(DeploymentView, Deploy)>,
    /// What lists of these were asked for.
    pub(crate) listed: Vec<DeploymentFilter>,
    /// What deployments are asked and answer.
    pub(crate) signature: Option<Signature>,
    /// What was asked.
    pub(crate) asks: Vec<Ask>,
    /// What is answered.
    pub(crate) answer: Vec<Part>,
    /// Of which times measures were wanted, and what they are.
    pub(crate) spans: Vec<Range<UnixMillis>>,
    pub(crate) measures: Vec<Measure>,
    /// Reservations.
    pub(crate) reservations: Vec<ReservationView>,
    /// What was wanted of them.
    pub(crate) wanted: Vec<Reserve>,
    pub(crate) beats: Vec<Beat>,
    pub(crate) confirmed: Vec<String>,
    /// The permission that goes with a reservation.
    pub(crate) assignment: Option<NodeAssignment>,
    /// What the next call comes to, where that is a refusal.
    pub(crate) refusal: Option<Failure>,
}

impl Rooms {
    fn refused(&mut self) -> Result<(), Failure> {
        self.refusal.take().map_or(Ok(()), Err)
    }

    fn model(&mut self, who: &Principal, id: &str) -> Result<&mut (ModelEntry, Vec<u8>), Failure> {
        let mut models = self.models.iter_mut();
        models
            .find(|(model, _)| model.id == id && model.owner == *who)
            .ok_or_else(|| Failure::not_found("no such model"))
    }

    fn deployment(&mut self, who: &Principal, id: &str) -> Result<&mut DeploymentView, Failure> {
        let mut deployed = self.deployed.iter_mut().map(|(view, _)| view);
        deployed
            .find(|view| view.id == id && view.owner == who.name)
            .ok_or_else(|| Failure::not_found("no such deployment"))
    }

    fn reservation(&mut self, who: &Principal, id: &str) -> Result<&mut ReservationView, Failure> {
        let mut reservations = self.reservations.iter_mut();
        reservations
            .find(|view| view.id == id && view.owner == *who)
            .ok_or_else(|| Failure::not_found("no such reservation"))
    }
}

#[tonic::async_trait]
impl Registry for Memory {
    async fn add_model(&self, who: &Principal, model: NewModel) -> Result<ModelEntry, Failure> {
        let rooms = &mut self.kept().rooms;
        rooms.refused()?;
        let entry = ModelEntry {
            id: format!("model-{}", rooms.models.len()),
            owner: who.clone(),
            said: model,
            received: 0,
            whole: None,
            downloads: 3,
        };
        rooms.models.push((entry.clone(), Vec::new()));
        Ok(entry)
    }

    async fn receive(
        &self,
        who: &Principal,
        mut pieces: BoxStream<'static, Result<Piece, Failure>>,
    ) -> Result<ModelEntry, Failure> {
        let mut id = String::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            id.clone_from(&piece.model);
            let rooms = &mut self.kept().rooms;
            let (entry, data) = rooms.model(who, &id)?;
            data.extend_from_slice(&piece.data);
            entry.received = data.len() as u64;
            if piece.is_last {
                entry.whole = Some(Whole {
                    digest: Digest::of(data),
                    sha256: "ab".repeat(32),
                    size: entry.received,
                    at: UnixMillis(5_000),
                });
            }
            rooms.pieces.push(piece);
        }
        self.model(who, &id).await
    }

    async fn model(&self, who: &Principal, id: &str) -> Result<ModelEntry, Failure> {
        Ok(self.kept().rooms.model(who, id)?.0.clone())
    }

    async fn registered(&self, _: &Principal, filter: ModelFilter) -> Result<ModelPage, Failure> {
        let rooms = &mut self.kept().rooms;
        rooms.filters.push(filter);
        Ok(ModelPage {
            models: rooms
                .models
                .iter()
                .map(|(model, _)| model.clone())
                .collect(),
            next: Some("7".to_owned()),
            total: 9,
        })
    }

    async fn read_model(&self, who: &Principal, id: &str) -> Result<Reading, Failure> {
        let (model, data) = self.kept().rooms.model(who, id)?.clone();
        let piece = Piece {
            model: id.to_owned(),
            offset: 2,
            total: data.len() as u64,
            data: Bytes::from(data),
            checksum: Some("cd".repeat(32)),
            is_last: true,
        };
        let pieces = [
            Ok(piece),
            Err(Failure::new(ErrorCode::Internal, "the disk")),
        ];
        Ok(Reading {
            model,
            pieces: stream::iter(pieces).boxed(),
        })
    }

    async fn discard_model(&self, who: &Principal, id: &str) -> Result<(), Failure> {
        self.kept().rooms.model(who, id)?;
        self.kept().rooms.models.retain(|(model, _)| model.id != id);
        Ok(())
    }
}

#[tonic::async_trait]
impl Deployments for Memory {
    async fn deploy(&self, who: &Principal, what: Deploy) -> Result<DeploymentView, Failure> {
        let rooms = &mut self.kept().rooms;
        rooms.refused()?;
        let view = DeploymentView {
            id: format!("deployment-{}", rooms.deployed.len()),
            owner: who.name.clone(),
            is_own: true,
            name: what.name.clone(),
            model: Some("model-0".to_owned()),
            digest: Digest::of(b"weights"),
            format: ModelFormat::Gguf,
            state: DeploymentState::Waiting,
            message: String::new(),
            node: None,
            signature: rooms.signature.clone(),
            created_at: UnixMillis(1_000),
            started_at: None,
            stopped_at: None,
            uptime: Duration::from_secs(60),
            asked: Measure {
                asks: 4,
                failed: 1,
                time: Duration::from_millis(10),
                ..Measure::default()
            },
        };
        rooms.deployed.push((view.clone(), what));
        Ok(view)
    }

    async fn deployment(&self, who: &Principal, id: &str) -> Result<DeploymentView, Failure> {
        Ok(self.kept().rooms.deployment(who, id)?.clone())
    }

    async fn deployments(
        &self,
        _: &Principal,
        filter: DeploymentFilter,
    ) -> Result<DeploymentPage, Failure> {
        let rooms = &mut self.kept().rooms;
        rooms.listed.push(filter);
        Ok(DeploymentPage {
            deployments: rooms
                .deployed
                .iter()
                .map(|(view, _)| view.clone())
                .collect(),
            next: None,
            total: 2,
        })
    }

    async fn undeploy(&self, who: &Principal, id: &str) -> Result<DeploymentView, Failure> {
        let rooms = &mut self.kept().rooms;
        let view = rooms.deployment(who, id)?;
        view.state = DeploymentState::Stopped;
        Ok(view.clone())
    }

    async fn forget_deployment(&self, who: &Principal, id: &str) -> Result<(), Failure> {
        self.kept().rooms.deployment(who, id)?;
        self.kept().rooms.deployed.retain(|(view, _)| view.id != id);
        Ok(())
    }
}

#[tonic::async_trait]
impl Inference for Memory {
    async fn infer(&self, who: &Principal, id: &str, ask: Ask) -> Result<Answered, Failure> {
        let rooms = &mut self.kept().rooms;
        rooms.deployment(who, id)?;
        rooms.refused()?;
        rooms.asks.push(ask);
        Ok(Answered {
            parts: rooms.answer.clone(),
            took: Duration::from_micros(1_500),
        })
    }

    async fn measures(
        &self,
        who: &Principal,
        id: &str,
        within: Range<UnixMillis>,
    ) -> Result<Vec<Measure>, Failure> {
        let rooms = &mut self.kept().rooms;
        rooms.deployment(who, id)?;
        rooms.spans.push(within);
        Ok(rooms.measures.clone())
    }
}

#[tonic::async_trait]
impl Reservations for Memory {
    async fn reserve(&self, who: &Principal, what: Reserve) -> Result<Reserved, Failure> {
        let rooms = &mut self.kept().rooms;
        rooms.refused()?;
        let view = ReservationView {
            id: format!("{}", rooms.reservations.len() + 1),
            owner: who.clone(),
            node: what.node,
            address: None,
            state: ReservationState::Pending,
            starts_at: UnixMillis(1_000),
            ends_at: UnixMillis(1_000 + u64::try_from(what.length.as_millis()).unwrap()),
            left: what.length,
            used: None,
            price: 1_500_000,
            held: 250_000,
            paid: 0,
            refunded: 0,
            movements: vec![("hold", "17".to_owned())],
            job: what.job.as_ref().map(|_| "job-7".to_owned()),
            progress: 0.0,
            metrics: Default::default(),
            jobs_completed: 0,
            is_attended: false,
        };
        rooms.reservations.push(view.clone());
        rooms.wanted.push(what);
        Ok(Reserved {
            reservation: view,
            assignment: rooms.assignment.clone(),
        })
    }

    async fn reservation(&self, who: &Principal, id: &str) -> Result<ReservationView, Failure> {
        Ok(self.kept().rooms.reservation(who, id)?.clone())
    }

    async fn reservations(
        &self,
        who: &Principal,
        filter: ReservationFilter,
    ) -> Result<ReservationPage, Failure> {
        let kept = self.kept();
        let all = kept.rooms.reservations.iter();
        let found =
            all.filter(|view| view.owner == *who && (view.state.is_open() || !filter.open_only));
        let reservations: Vec<_> = found.cloned().collect();
        Ok(ReservationPage {
            total: reservations.len() as u64,
            reservations,
            next: None,
        })
    }

    async fn attend(
        &self,
        who: &Principal,
        id: &str,
        beat: Beat,
    ) -> Result<ReservationView, Failure> {
        let rooms = &mut self.kept().rooms;
        rooms.refused()?;
        rooms.beats.push(beat);
        let view = rooms.reservation(who, id)?;
        view.state = ReservationState::Active;
        view.is_attended = true;
        Ok(view.clone())
    }

    async fn extend(
        &self,
        who: &Principal,
        id: &str,
        by: Duration,
    ) -> Result<ReservationView, Failure> {
        let rooms = &mut self.kept().rooms;
        rooms.refused()?;
        let view = rooms.reservation(who, id)?;
        view.left += by;
        view.ends_at.0 += u64::try_from(by.as_millis()).unwrap();
        view.held += 50_000;
        view.movements.insert(0, ("hold", "18".to_owned()));
        Ok(view.clone())
    }

    async fn leave(
        &self,
        who: &Principal,
        id: &str,
        how: Leave,
    ) -> Result<ReservationView, Failure> {
        let rooms = &mut self.kept().rooms;
        let view = rooms.reservation(who, id)?;
        view.state = match how {
            Leave::Release => ReservationState::Cancelled,
            Leave::Done => ReservationState::Completed,
        };
        view.used = Some(Duration::from_secs(90));
        (view.paid, view.refunded) = (100_000, view.held - 100_000);
        view.movements.insert(0, ("capture", "19".to_owned()));
        Ok(view.clone())
    }

    async fn confirm(
        &self,
        who: &Principal,
        id: &str,
        job: &str,
    ) -> Result<ReservationView, Failure> {
        let rooms = &mut self.kept().rooms;
        rooms.refused()?;
        rooms.confirmed.push(job.to_owned());
        Ok(rooms.reservation(who, id)?.clone())
    }

    async fn readmit(&self, who: &Principal, id: &str) -> Result<Reserved, Failure> {
        let rooms = &mut self.kept().rooms;
        let assignment = rooms.assignment.clone();
        Ok(Reserved {
            reservation: rooms.reservation(who, id)?.clone(),
            assignment,
        })
    }
}

/// Some node's id.
pub(crate) fn node() -> embermesh_crypto::PeerId {
    Keypair::from_seed(&[7; 32]).peer_id()
}
