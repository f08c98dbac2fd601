//! `DeploymentService`: models that are put into the memory of a node of the mesh.

use embermesh_crypto::UnixMillis;
use embermesh_job::{spec::Requirements, units};
use tonic::{Request, Response, Status};

use super::super::{PROFILE, wire};
use super::{Adapter, error};
use crate::{
    Dialect, Failure, caller,
    cyxwiz::{
        caller::{caller, is_own},
        code,
        models::{blob, format, format_number, page, state_number, states, unsigned},
    },
    port::{
        ModelPort, Principal,
        deployments::{
            Deploy, DeploymentFilter, DeploymentState, DeploymentView, Measure, Weights,
        },
    },
};

/// The kind of every deployment here: on a node of the mesh.
const NETWORK: i32 = 3;

#[tonic::async_trait]
impl<P: ModelPort> wire::deployment_service_server::DeploymentService for Adapter<P> {
    async fn create_deployment(
        &self,
        request: Request<wire::CreateDeploymentRequest>,
    ) -> Result<Response<wire::CreateDeploymentResponse>, Status> {
        let who = self.deployer(&request).await?;
        let config = request.into_inner().config;
        let config = config.ok_or_else(|| Failure::invalid("config: there is none"))?;
        is_own(&who, "config.user_id", &config.user_id)?;
        let answer = match self.0.deploy(&who, deploy(config)?).await {
            Ok(view) => wire::CreateDeploymentResponse {
                status: code::SUCCESS,
                deployment: Some(deployment(&view)),
                error: None,
            },
            Err(failure) if code::is_answer(failure.code) => wire::CreateDeploymentResponse {
                status: code::failed(PROFILE),
                deployment: None,
                error: Some(error(
                    code::error(failure.code),
                    failure.message,
                    String::new(),
                )),
            },
            Err(failure) => return Err(failure.into()),
        };
        Ok(Response::new(answer))
    }

    async fn get_deployment(
        &self,
        request: Request<wire::GetDeploymentRequest>,
    ) -> Result<Response<wire::GetDeploymentResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().user_id).await?;
        let request = request.into_inner();
        is_own(&who, "user_id", &request.user_id)?;
        let view = self.0.deployment(&who, &request.deployment_id).await?;
        Ok(Response::new(wire::GetDeploymentResponse {
            deployment: Some(deployment(&view)),
            error: None,
        }))
    }

    async fn list_deployments(
        &self,
        request: Request<wire::ListDeploymentsRequest>,
    ) -> Result<Response<wire::ListDeploymentsResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().user_id).await?;
        let request = request.into_inner();
        is_own(&who, "user_id", &request.user_id)?;
        if !(0..=NETWORK).contains(&request.type_filter) {
            let message = format!("type_filter: {} is no type", request.type_filter);
            return Err(Failure::invalid(message).into());
        }
        if ![0, NETWORK].contains(&request.type_filter) {
            // Every deployment here is on a node of the mesh.
            return Ok(Response::new(wire::ListDeploymentsResponse::default()));
        }
        let found = self.0.deployments(&who, filter(request)?).await?;
        Ok(Response::new(wire::ListDeploymentsResponse {
            deployments: found.deployments.iter().map(deployment).collect(),
            next_page_token: found.next.unwrap_or_default(),
            total_count: code::int32(found.total),
            error: None,
        }))
    }

    async fn stop_deployment(
        &self,
        request: Request<wire::StopDeploymentRequest>,
    ) -> Result<Response<wire::StopDeploymentResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().user_id).await?;
        let request = request.into_inner();
        is_own(&who, "user_id", &request.user_id)?;
        let view = self.0.undeploy(&who, &request.deployment_id).await?;
        Ok(Response::new(wire::StopDeploymentResponse {
            status: code::SUCCESS,
            deployment: Some(deployment(&view)),
            error: None,
        }))
    }

    async fn delete_deployment(
        &self,
        request: Request<wire::DeleteDeploymentRequest>,
    ) -> Result<Response<wire::DeleteDeploymentResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().user_id).await?;
        let request = request.into_inner();
        is_own(&who, "user_id", &request.user_id)?;
        self.0
            .forget_deployment(&who, &request.deployment_id)
            .await?;
        Ok(Response::new(wire::DeleteDeploymentResponse {
            status: code::SUCCESS,
            error: None,
        }))
    }

    async fn get_deployment_metrics(
        &self,
        request: Request<wire::GetDeploymentMetricsRequest>,
    ) -> Result<Response<wire::GetDeploymentMetricsResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let request = request.into_inner();
        let from = moment("start_time", request.start_time)?;
        let to = match request.end_time {
            0 => UnixMillis(u64::MAX),
            end => moment("end_time", end)?,
        };
        let measures = self
            .0
            .measures(&who, &request.deployment_id, from..to)
            .await?;
        Ok(Response::new(wire::GetDeploymentMetricsResponse {
            metrics: measures.iter().map(point).collect(),
            error: None,
        }))
    }
}

impl<P: ModelPort> Adapter<P> {
    /// Who makes a deployment: the one call of the service with a token in a field.
    async fn deployer(
        &self,
        request: &Request<wire::CreateDeploymentRequest>,
    ) -> Result<Principal, Failure> {
        let said = request.get_ref();
        let claimed = said.config.as_ref().map_or("", |config| &config.user_id);
        if said.authentication_token.is_empty() {
            return caller(&*self.0, request, claimed).await;
        }
        let credentials = caller::credentials(request, &said.authentication_token, claimed);
        self.0.authenticate(Dialect::CyxWiz, credentials).await
    }
}

fn deploy(config: wire::DeploymentConfig) -> Result<Deploy, Failure> {
    if ![0, NETWORK].contains(&config.r#type) {
        let message = "config.type: an index deploys on nodes of the mesh: give NETWORK";
        return Err(Failure::invalid(message));
    }
    if config.enable_terminal {
        let message = "config.enable_terminal: no node opens a terminal to anybody";
        return Err(Failure::invalid(message));
    }
    if !config.environment_vars.is_empty() {
        let message = "config.environment_vars: a model is data, and no program reads them";
        return Err(Failure::invalid(message));
    }
    let model = config
        .model
        .ok_or_else(|| Failure::invalid("config.model: there is none"))?;
    let needs = config
        .requirements
        .or(model.requirements)
        .unwrap_or_default();
    if needs.min_cpu_cores > 0 {
        let message =
            "config.requirements.min_cpu_cores: nodes do not say how many they have: leave it out";
        return Err(Failure::invalid(message));
    }
    let mut options: std::collections::BTreeMap<_, _> = config.runtime_params.into_iter().collect();
    let concurrency = options
        .remove("concurrency")
        .map(|text| text.parse())
        .transpose()
        .map_err(|_| Failure::invalid("config.runtime_params: concurrency is no number"))?;
    let memory = unsigned("config.requirements.min_ram", needs.min_ram)?;
    let context = u32::try_from(config.context_size)
        .map_err(|_| Failure::invalid("config.context_size: it is less than nothing"))?;
    let weights = if model.model_id.is_empty() {
        Weights::Blob(blob(&model.source_url)?, format(model.format)?)
    } else {
        Weights::Kept(model.model_id.clone())
    };
    Ok(Deploy {
        id: Some(config.deployment_id).filter(|id| !id.is_empty()),
        name: if model.name.is_empty() {
            model.model_id
        } else {
            model.name
        },
        weights,
        options,
        requires: Requirements {
            device: code::device(needs.required_device)
                .map_err(|reason| Failure::invalid(format!("required_device: {reason}")))?,
            min_memory: units::Bytes(unsigned("config.requirements.min_vram", needs.min_vram)?),
            max_price: price(config.max_price_per_hour)?,
            nodes: node(&config.node_id)?,
            ..Requirements::default()
        },
        memory: (memory > 0).then_some(memory),
        context: (context > 0).then_some(context),
        concurrency,
    })
}

fn price(units: f64) -> Result<Option<units::MicroUnits>, Failure> {
    let micros = code::micros(units)
        .map_err(|reason| Failure::invalid(format!("config.max_price_per_hour: {reason}")))?;
    Ok((micros > 0).then_some(units::MicroUnits(micros)))
}

fn node(id: &str) -> Result<Vec<embermesh_crypto::PeerId>, Failure> {
    if id.is_empty() {
        return Ok(Vec::new());
    }
    let node = id
        .parse()
        .map_err(|_| Failure::invalid(format!("config.node_id: {id:?} is no node's id")))?;
    Ok(vec![node])
}

fn filter(request: wire::ListDeploymentsRequest) -> Result<DeploymentFilter, Failure> {
    Ok(DeploymentFilter {
        states: states(request.status_filter)?,
        own_only: !request.user_id.is_empty(),
        after: Some(request.page_token).filter(|token| !token.is_empty()),
        most: page(request.page_size)?,
    })
}

fn moment(field: &str, seconds: i64) -> Result<UnixMillis, Failure> {
    Ok(UnixMillis(unsigned(field, seconds)?.saturating_mul(1000)))
}

/// The mean of what some asks took, in milliseconds.
#[allow(clippy::cast_precision_loss, reason = "the wire has doubles")]
fn latency_ms(measure: &Measure) -> f64 {
    if measure.asks == 0 {
        return 0.0;
    }
    measure.time.as_secs_f64() * 1e3 / measure.asks as f64
}

/// A minute. What the devices of its node did is not known here and stays at nothing.
#[allow(clippy::cast_precision_loss, reason = "the wire has doubles")]
fn point(measure: &Measure) -> wire::DeploymentMetricPoint {
    let seconds = measure.span.as_secs_f64();
    wire::DeploymentMetricPoint {
        timestamp: code::seconds(Some(measure.at)),
        request_count: code::int64(measure.asks),
        avg_latency_ms: latency_ms(measure),
        throughput_rps: if seconds > 0.0 {
            measure.asks as f64 / seconds
        } else {
            0.0
        },
        ..Default::default()
    }
}

fn deployment(view: &DeploymentView) -> wire::Deployment {
    let node = view.node.as_ref().map(|node| node.peer.to_string());
    wire::Deployment {
        deployment_id: view.id.clone(),
        config: Some(wire::DeploymentConfig {
            deployment_id: view.id.clone(),
            user_id: view.owner.clone(),
            r#type: NETWORK,
            model: Some(wire::ModelInfo {
                model_id: view.model.clone().unwrap_or_default(),
                name: view.name.clone(),
                format: format_number(view.format),
                ..Default::default()
            }),
            node_id: node.clone().unwrap_or_default(),
            ..Default::default()
        }),
        status: state_number(view.state),
        assigned_node: node.map(|node| wire::NodeInfo {
            name: node.clone(),
            node_id: node,
            is_online: view.state == DeploymentState::Ready,
            ..Default::default()
        }),
        status_message: view.message.clone(),
        created_at: code::seconds(Some(view.created_at)),
        started_at: code::seconds(view.started_at),
        stopped_at: code::seconds(view.stopped_at),
        uptime_seconds: code::int64(view.uptime.as_secs()),
        total_requests: code::int64(view.asked.asks),
        avg_latency_ms: latency_ms(&view.asked),
        error: (view.state == DeploymentState::Failed)
            .then(|| error(0, view.message.clone(), String::new())),
        ..Default::default()
    }
}
