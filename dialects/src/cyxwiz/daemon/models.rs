//! What is resident on the node, and the model files of its owner.

use tonic::{Request, Response, Status};

use super::{Answer, call, obeyed, wire};
use crate::{
    Failure,
    cyxwiz::code,
    port::node::owner::models::{Deployed, ModelFile, OwnedModels},
};

/// Folders that one call may name.
const MAX_FOLDERS: usize = 64;

pub(super) fn deployments<P: OwnedModels>(
    port: &P,
    request: &Request<wire::ListDeploymentsRequest>,
) -> Answer<wire::ListDeploymentsResponse> {
    let deployed = port.deployments(&call(request, ""))?;
    Ok(Response::new(wire::ListDeploymentsResponse {
        deployments: deployed.iter().map(deployment).collect(),
    }))
}

pub(super) fn deployment_status<P: OwnedModels>(
    port: &P,
    request: &Request<wire::GetDeploymentStatusRequest>,
) -> Answer<wire::GetDeploymentStatusResponse> {
    let id = &request.get_ref().deployment_id;
    let deployed = port.deployments(&call(request, ""))?;
    let found = deployed
        .iter()
        .find(|deployed| deployed.model.job.to_string() == *id);
    let found = found
        .ok_or_else(|| Failure::not_found(format!("no deployment {id:?} is resident here")))?;
    Ok(Response::new(wire::GetDeploymentStatusResponse {
        deployment: Some(deployment(found)),
    }))
}

pub(super) async fn deploy<P: OwnedModels>(
    port: &P,
    request: &Request<wire::DeployModelRequest>,
) -> Answer<wire::DeployModelResponse> {
    let said = request.get_ref();
    let deployed = async {
        for (field, refused, why) in [
            (
                "port",
                said.port != 0,
                "models are asked at the node's own port",
            ),
            (
                "gpu_layers",
                said.gpu_layers != 0,
                "such a model is computed on the processor",
            ),
            (
                "api_key_id",
                !said.api_key_id.is_empty(),
                "a key lets its holder look at the node and ask nothing",
            ),
        ] {
            if refused {
                return Err(Failure::invalid(format!("{field}: {why}: leave it out")));
            }
        }
        let context = u32::try_from(said.context_size)
            .map_err(|_| Failure::invalid("context_size: it is less than nothing"))?;
        port.deploy(&call(request, ""), &said.model_path, context)
            .await
    };
    let deployed = deployed.await;
    let deployment_id = deployed.as_ref().map(ToString::to_string);
    let deployment_id = deployment_id.unwrap_or_default();
    let (success, error_message) = obeyed(deployed.map(|_| ()))?;
    Ok(Response::new(wire::DeployModelResponse {
        success,
        deployment_id,
        error_message,
    }))
}

pub(super) async fn undeploy<P: OwnedModels>(
    port: &P,
    request: &Request<wire::UndeployModelRequest>,
) -> Answer<wire::UndeployModelResponse> {
    let call = call(request, &request.get_ref().deployment_id);
    let (success, error_message) = obeyed(port.undeploy(&call).await)?;
    Ok(Response::new(wire::UndeployModelResponse {
        success,
        error_message,
    }))
}

pub(super) async fn list<P: OwnedModels>(
    port: &P,
    request: &Request<wire::ListLocalModelsRequest>,
) -> Answer<wire::ListLocalModelsResponse> {
    let folder = request.get_ref().directory.clone();
    let folders: Vec<String> = Some(folder)
        .filter(|folder| !folder.is_empty())
        .into_iter()
        .collect();
    let files = port.files(&call(request, ""), &folders).await?;
    Ok(Response::new(wire::ListLocalModelsResponse {
        models: files.iter().map(file).collect(),
    }))
}

pub(super) async fn scan<P: OwnedModels>(
    port: &P,
    request: &Request<wire::ScanModelsRequest>,
) -> Answer<wire::ScanModelsResponse> {
    let folders = &request.get_ref().directories;
    if folders.len() > MAX_FOLDERS {
        let message = format!("directories: name {MAX_FOLDERS} at most");
        return Err(Status::invalid_argument(message));
    }
    let files = port.files(&call(request, ""), folders).await?;
    Ok(Response::new(wire::ScanModelsResponse {
        models_found: code::int32(files.len() as u64),
        new_models: files.iter().filter(|file| file.new).map(file).collect(),
    }))
}

pub(super) async fn delete<P: OwnedModels>(
    port: &P,
    request: &Request<wire::DeleteModelRequest>,
) -> Answer<wire::DeleteModelResponse> {
    let call = call(request, "");
    let removed = port.remove_file(&call, &request.get_ref().model_path).await;
    let (success, error_message) = obeyed(removed)?;
    Ok(Response::new(wire::DeleteModelResponse {
        success,
        error_message,
    }))
}

/// A deployment as it is shown. It is asked at the node's own port.
fn deployment(deployed: &Deployed) -> wire::DeploymentInfo {
    let model = &deployed.model;
    let status = if model.ready {
        wire::DeploymentStatus::Running
    } else {
        wire::DeploymentStatus::Loading
    };
    wire::DeploymentInfo {
        id: model.job.to_string(),
        model_name: model.name.clone(),
        model_path: deployed
            .path
            .clone()
            .unwrap_or_else(|| format!("blake3:{}", deployed.digest)),
        format: deployed.format.to_owned(),
        status: status.into(),
        context_size: code::int32(deployed.context.into()),
        request_count: code::int64(model.answered),
        tokens_generated: code::int64(model.made),
        deployed_at: code::seconds(Some(model.since)),
        ..Default::default()
    }
}

/// A file as it is shown. What is in it is read when it is deployed.
fn file(file: &ModelFile) -> wire::ModelInfo {
    wire::ModelInfo {
        name: file.name.clone(),
        path: file.path.clone(),
        format: file.format.clone(),
        size_bytes: code::int64(file.size),
        modified_at: code::seconds(Some(file.modified)),
        is_deployed: file.deployed,
        ..Default::default()
    }
}
