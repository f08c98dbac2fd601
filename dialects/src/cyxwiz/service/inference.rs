//! `InferenceService`: deployed models, asked through the index.

use tonic::{Request, Response, Status};

use super::super::{tensor_info, wire};
use super::Adapter;
use crate::{
    ErrorCode, Failure,
    cyxwiz::{
        caller::caller,
        code,
        tensor::{self, Tensor},
    },
    port::{
        ModelPort,
        deployments::{DeploymentView, Signature},
    },
};

#[tonic::async_trait]
impl<P: ModelPort> wire::inference_service_server::InferenceService for Adapter<P> {
    async fn infer(
        &self,
        request: Request<wire::InferRequest>,
    ) -> Result<Response<wire::InferResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let request = request.into_inner();
        let view = self.0.deployment(&who, &request.deployment_id).await?;
        let signature = signature(&view)?;
        let inputs: Vec<Tensor> = request.inputs.into_iter().map(parse).collect();
        let ask = tensor::ask(signature, &inputs)?;
        let answered = self.0.infer(&who, &request.deployment_id, ask).await?;
        let outputs = tensor::answer(signature, &answered.parts);
        Ok(Response::new(wire::InferResponse {
            status: code::SUCCESS,
            outputs: outputs.into_iter().map(render).collect(),
            latency_ms: answered.took.as_secs_f64() * 1e3,
            error: None,
        }))
    }

    async fn get_model_info(
        &self,
        request: Request<wire::GetModelInfoRequest>,
    ) -> Result<Response<wire::GetModelInfoResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let id = request.into_inner().deployment_id;
        let view = self.0.deployment(&who, &id).await?;
        let (inputs, outputs) = tensor::specs(signature(&view)?);
        Ok(Response::new(wire::GetModelInfoResponse {
            status: code::SUCCESS,
            input_specs: inputs.iter().map(tensor_info).collect(),
            output_specs: outputs.iter().map(tensor_info).collect(),
            error: None,
        }))
    }
}

fn signature(view: &DeploymentView) -> Result<&Signature, Failure> {
    view.signature.as_ref().ok_or_else(|| {
        let message = "what the model is asked is known once it is loaded";
        Failure::new(ErrorCode::Precondition, message)
    })
}

fn parse(tensor: wire::TensorData) -> Tensor {
    Tensor {
        name: tensor.name,
        shape: tensor.shape,
        dtype: tensor.dtype,
        data: tensor.data,
    }
}

fn render(tensor: Tensor) -> wire::TensorData {
    wire::TensorData {
        name: tensor.name,
        shape: tensor.shape,
        dtype: tensor.dtype,
        data: tensor.data,
    }
}
