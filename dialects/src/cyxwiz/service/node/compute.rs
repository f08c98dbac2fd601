//! `ComputeService`: operations over tensors, and graphs of them, computed on this node
//! and answered in the same call. They run as a task of their own, in a worker.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt as _, stream, stream::BoxStream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    super::{
        super::{PROFILE, described, shaped, wire},
        error,
    },
    Node,
};
use crate::{
    Failure, caller,
    cyxwiz::{
        code,
        compute::{self, Asked},
        tensor::Tensor,
    },
    port::node::{Call, computing::Computing},
};

/// What an operation is called that has no id.
const UNNAMED: &str = "operation";

/// Tensors by name, and the time that they took.
type Results = (Vec<(String, wire::Tensor)>, i64);

#[tonic::async_trait]
impl<P: Computing> wire::compute_service_server::ComputeService for Node<P> {
    async fn execute(
        &self,
        request: Request<wire::ComputeRequest>,
    ) -> Result<Response<wire::ComputeResponse>, Status> {
        let call = caller::call(&request, "", "");
        Ok(Response::new(
            one(&*self.0, &call, request.into_inner()).await?,
        ))
    }

    async fn execute_graph(
        &self,
        request: Request<wire::ExecuteGraphRequest>,
    ) -> Result<Response<wire::ExecuteGraphResponse>, Status> {
        let call = caller::call(&request, "", "");
        let said = request.into_inner();
        let answer = match computed(&*self.0, &call, said.operations, &said.execution_order).await {
            Ok((outputs, took)) => wire::ExecuteGraphResponse {
                graph_id: said.graph_id,
                status: code::SUCCESS,
                outputs: outputs.into_iter().collect(),
                total_compute_time_ms: took,
                error: None,
            },
            Err(failure) => wire::ExecuteGraphResponse {
                graph_id: said.graph_id,
                status: code::failed(PROFILE),
                outputs: HashMap::new(),
                total_compute_time_ms: 0,
                error: Some(refused(failure)?),
            },
        };
        Ok(Response::new(answer))
    }

    type StreamExecuteStream = BoxStream<'static, Result<wire::ComputeResponse, Status>>;

    /// Answers one after another. An operation that is refused ends nothing; a caller who
    /// may not, and a stream that breaks, does.
    async fn stream_execute(
        &self,
        request: Request<Streaming<wire::ComputeRequest>>,
    ) -> Result<Response<Self::StreamExecuteStream>, Status> {
        let call = caller::call(&request, "", "");
        self.0.may_compute(&call)?;
        let held = Some((Arc::clone(&self.0), call, request.into_inner()));
        let answers = stream::unfold(held, |held| async move {
            let (port, call, mut asked) = held?;
            let answer = match asked.message().await {
                Ok(Some(said)) => one(&*port, &call, said).await,
                Ok(None) => return None,
                Err(status) => Err(status),
            };
            let next = answer.is_ok().then_some((port, call, asked));
            Some((answer, next))
        });
        Ok(Response::new(answers.boxed()))
    }
}

/// Computes one operation.
async fn one<P: Computing>(
    port: &P,
    call: &Call,
    mut said: wire::ComputeRequest,
) -> Result<wire::ComputeResponse, Status> {
    let operation_id = said.operation_id.clone();
    if said.operation_id.is_empty() {
        UNNAMED.clone_into(&mut said.operation_id);
    }
    Ok(match computed(port, call, vec![said], &[]).await {
        Ok((outputs, took)) => wire::ComputeResponse {
            operation_id,
            status: code::SUCCESS,
            outputs: outputs.into_iter().map(|(_, tensor)| tensor).collect(),
            compute_time_ms: took,
            error: None,
        },
        Err(failure) => wire::ComputeResponse {
            operation_id,
            status: code::failed(PROFILE),
            error: Some(refused(failure)?),
            ..Default::default()
        },
    })
}

/// Has operations computed. Who may not hears so before anything of them is read.
async fn computed<P: Computing>(
    port: &P,
    call: &Call,
    said: Vec<wire::ComputeRequest>,
    order: &[String],
) -> Result<Results, Failure> {
    port.may_compute(call)?;
    let asked = said.into_iter().map(asked).collect::<Result<_, _>>()?;
    let planned = compute::plan(asked, order)?;
    let computed = port.compute(call, planned.order).await?;
    let results = compute::results(&computed.results, &planned.results)?;
    let named = results
        .into_iter()
        .map(|tensor| (tensor.name.clone(), shown(tensor)));
    Ok((named.collect(), code::int64(computed.took_ms)))
}

fn refused(failure: Failure) -> Result<wire::Error, Status> {
    if code::is_answer(failure.code) {
        let code = code::error(failure.code);
        return Ok(error(code, failure.message, String::new()));
    }
    Err(failure.into())
}

fn asked(said: wire::ComputeRequest) -> Result<Asked, Failure> {
    let id = said.operation_id;
    let refuse = |number: usize, why: &str| {
        let id = compute::shown(&id);
        Failure::invalid(format!("operation {id:?}: inputs: {number}: {why}"))
    };
    let tensor = |(number, tensor): (usize, wire::Tensor)| {
        if !tensor.ipfs_hash.is_empty() {
            return Err(refuse(
                number,
                "ipfs_hash: nothing is fetched from there: send the data",
            ));
        }
        if tensor.compressed {
            return Err(refuse(number, "compressed: send the numbers as they are"));
        }
        let info = tensor
            .info
            .ok_or_else(|| refuse(number, "info: there is none"))?;
        let (shape, dtype) = described(info).map_err(|why| refuse(number, &why))?;
        Ok(Tensor {
            name: number.to_string(),
            shape,
            dtype,
            data: tensor.data,
        })
    };
    let inputs = said.inputs.into_iter().enumerate();
    let inputs = inputs.map(tensor).collect::<Result<_, _>>()?;
    Ok(Asked {
        id,
        kind: said.operation,
        inputs,
        parameters: said.parameters.into_iter().collect(),
        device: said.target_device,
    })
}

fn shown(tensor: Tensor) -> wire::Tensor {
    wire::Tensor {
        info: Some(shaped(&tensor)),
        data: tensor.data,
        ipfs_hash: String::new(),
        compressed: false,
    }
}
