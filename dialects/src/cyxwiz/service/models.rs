//! `ModelService`: the registry of models.

use futures::{StreamExt as _, stream::BoxStream};
use tonic::{Request, Response, Status, Streaming};

use super::super::{PROFILE, wire};
use super::Adapter;
use crate::{
    Failure, Profile,
    cyxwiz::{
        caller::{caller, is_own},
        code,
        models::{format, format_number, note, page, unnote, unsigned},
    },
    port::{
        ModelPort,
        registry::{ModelEntry, ModelFilter, NewModel, Piece},
    },
};

/// Keys of a model's metadata that say what its bytes hash to.
const CHECKSUMS: [&str; 3] = ["checksum", "sha256", "blake3"];
/// The source of every model that is here: a hub.
const HUB: i32 = 3;

#[tonic::async_trait]
impl<P: ModelPort> wire::model_service_server::ModelService for Adapter<P> {
    async fn upload_metadata(
        &self,
        request: Request<wire::UploadModelMetadataRequest>,
    ) -> Result<Response<wire::UploadModelMetadataResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().user_id).await?;
        let request = request.into_inner();
        is_own(&who, "user_id", &request.user_id)?;
        let entry = self.0.add_model(&who, new_model(request)?).await?;
        Ok(Response::new(wire::UploadModelMetadataResponse {
            status: code::SUCCESS,
            model_id: entry.id,
            ..Default::default()
        }))
    }

    async fn upload_model(
        &self,
        request: Request<Streaming<wire::ModelChunk>>,
    ) -> Result<Response<wire::SimpleResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let pieces = request.into_inner().map(|chunk| match chunk {
            Ok(chunk) => piece(chunk),
            Err(status) => Err(Failure::new(
                crate::ErrorCode::Unavailable,
                format!("the upload broke off: {}", status.message()),
            )),
        });
        self.0.receive(&who, pieces.boxed()).await?;
        Ok(Response::new(wire::SimpleResponse {
            status: code::SUCCESS,
            error: None,
        }))
    }

    async fn download_metadata(
        &self,
        request: Request<wire::DownloadModelMetadataRequest>,
    ) -> Result<Response<wire::DownloadModelMetadataResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let entry = self.0.model(&who, &request.get_ref().model_id).await?;
        Ok(Response::new(wire::DownloadModelMetadataResponse {
            status: if entry.whole.is_some() {
                code::SUCCESS
            } else {
                PENDING
            },
            entry: Some(registry_entry(entry)),
            ..Default::default()
        }))
    }

    type DownloadModelStream = BoxStream<'static, Result<wire::ModelChunk, Status>>;

    async fn download_model(
        &self,
        request: Request<wire::DownloadModelMetadataRequest>,
    ) -> Result<Response<Self::DownloadModelStream>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let reading = self.0.read_model(&who, &request.get_ref().model_id).await?;
        let chunks = reading
            .pieces
            .map(|piece| piece.map(chunk).map_err(Status::from));
        Ok(Response::new(chunks.boxed()))
    }

    async fn list_models(
        &self,
        request: Request<wire::ListModelsRequest>,
    ) -> Result<Response<wire::ListModelsResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let found = self
            .0
            .registered(&who, filter(request.into_inner())?)
            .await?;
        Ok(Response::new(wire::ListModelsResponse {
            models: found.models.into_iter().map(registry_entry).collect(),
            next_page_token: found.next.unwrap_or_default(),
            total_count: code::int32(found.total),
            error: None,
        }))
    }

    async fn delete_model(
        &self,
        request: Request<wire::DeleteModelRequest>,
    ) -> Result<Response<wire::DeleteModelResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().user_id).await?;
        let request = request.into_inner();
        is_own(&who, "user_id", &request.user_id)?;
        self.0.discard_model(&who, &request.model_id).await?;
        Ok(Response::new(wire::DeleteModelResponse {
            status: code::SUCCESS,
            error: None,
        }))
    }
}

/// Not whole yet.
const PENDING: i32 = match PROFILE {
    Profile::Documented => 2,
    Profile::Shipped => 3,
};

fn new_model(request: wire::UploadModelMetadataRequest) -> Result<NewModel, Failure> {
    let info = request
        .info
        .ok_or_else(|| Failure::invalid("info: there is none"))?;
    let checksum = CHECKSUMS.iter().find_map(|key| info.metadata.get(*key));
    let size = unsigned("info.size_bytes", info.size_bytes)?;
    let needs = info.requirements.unwrap_or_default();
    let ours = [
        ("source", info.source.to_string()),
        ("source_url", info.source_url),
        ("min_vram", needs.min_vram.to_string()),
        ("min_ram", needs.min_ram.to_string()),
        ("min_cpu_cores", needs.min_cpu_cores.to_string()),
        ("required_device", needs.required_device.to_string()),
        ("gpu_name_preference", needs.gpu_name_preference),
        ("supported_formats", needs.supported_formats.join(",")),
    ];
    Ok(NewModel {
        id: Some(info.model_id).filter(|id| !id.is_empty()),
        name: info.name,
        description: info.description,
        format: format(info.format)?,
        size: (size > 0).then_some(size),
        checksum: checksum.cloned(),
        is_public: request.is_public,
        tags: request.tags,
        metadata: note(info.metadata, ours)?,
    })
}

fn piece(chunk: wire::ModelChunk) -> Result<Piece, Failure> {
    Ok(Piece {
        model: chunk.model_id,
        offset: unsigned("offset", chunk.offset)?,
        total: unsigned("total_size", chunk.total_size)?,
        data: chunk.data,
        checksum: Some(chunk.checksum).filter(|checksum| !checksum.is_empty()),
        is_last: chunk.is_final,
    })
}

fn chunk(piece: Piece) -> wire::ModelChunk {
    wire::ModelChunk {
        model_id: piece.model,
        data: piece.data,
        offset: code::int64(piece.offset),
        total_size: code::int64(piece.total),
        is_final: piece.is_last,
        checksum: piece.checksum.unwrap_or_default(),
    }
}

fn filter(request: wire::ListModelsRequest) -> Result<ModelFilter, Failure> {
    Ok(ModelFilter {
        text: request.search_query,
        tags: request.tags,
        format: match request.format_filter {
            0 => None,
            number => Some(format(number)?),
        },
        public_only: request.public_only,
        after: Some(request.page_token).filter(|token| !token.is_empty()),
        most: page(request.page_size)?,
    })
}

/// A model as it is kept. What its bytes are, and how many of them are here, stands with
/// what its owner says of it: the wire has no other place for it.
fn registry_entry(entry: ModelEntry) -> wire::ModelRegistryEntry {
    let (mut metadata, ours) = unnote(&entry.said.metadata);
    let needs = wire::HardwareRequirements {
        min_vram: ours.number("min_vram"),
        min_ram: ours.number("min_ram"),
        min_cpu_cores: ours.number("min_cpu_cores"),
        required_device: ours.number("required_device"),
        gpu_name_preference: ours.text("gpu_name_preference"),
        supported_formats: ours
            .text("supported_formats")
            .split(',')
            .filter(|format| !format.is_empty())
            .map(str::to_owned)
            .collect(),
    };
    let source = match ours.number("source") {
        0 => HUB,
        source => source,
    };
    let source_url = ours.text("source_url");
    let requirements = (!ours.is_empty()).then_some(needs);
    let mut storage_path = String::new();
    let mut uploaded_at = None;
    if let Some(whole) = &entry.whole {
        metadata.insert("sha256".to_owned(), whole.sha256.clone());
        metadata.insert("blake3".to_owned(), whole.digest.to_string());
        storage_path = crate::cyxwiz::models::blob_text(&embermesh_job::spec::Input {
            digest: whole.digest,
            size: whole.size,
        });
        uploaded_at = Some(whole.at);
    }
    metadata.insert("received_bytes".to_owned(), entry.received.to_string());
    wire::ModelRegistryEntry {
        model_id: entry.id.clone(),
        info: Some(wire::ModelInfo {
            model_id: entry.id,
            name: entry.said.name,
            description: entry.said.description,
            format: format_number(entry.said.format),
            source,
            source_url,
            local_path: String::new(),
            size_bytes: code::int64(entry.said.size.unwrap_or(0)),
            requirements,
            metadata: metadata.into_iter().collect(),
        }),
        owner_id: entry.owner.name,
        is_public: entry.said.is_public,
        download_count: code::int64(entry.downloads),
        // Nobody rates models here.
        rating: 0.0,
        tags: entry.said.tags,
        uploaded_at: code::seconds(uploaded_at),
        storage_path,
    }
}
