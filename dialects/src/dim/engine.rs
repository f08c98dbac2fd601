//! `PatternEngine`: a pattern, executed at once.

use std::{collections::BTreeMap, sync::Arc};

use embermesh_job::lifecycle::JobState;
use embermesh_proto::dim::{common, pattern_engine as wire};
use serde_json::Value as Json;
use tonic::{Request, Response, Status};
use wire::pattern_engine_server::PatternEngine as Service;

use super::{
    config::{self, Pattern},
    nameless, render,
};
use crate::{
    Failure,
    port::{
        plans::{PlanSubmission, Plans},
        users::Users,
    },
};

/// Serves `dim.pattern_engine.PatternEngine`. The pattern is named in the specification.
#[derive(Debug)]
pub struct PatternEngine<P> {
    port: Arc<P>,
}

impl<P> PatternEngine<P> {
    /// Over a port.
    pub const fn new(port: Arc<P>) -> Self {
        Self { port }
    }
}

/// The pattern that a specification names.
fn named(spec_json: &str) -> Result<Pattern, Failure> {
    let missing =
        || Failure::invalid("spec_json: say `pattern`: collaborative, comparative or chained");
    if spec_json.len() > config::MAX_CONFIG {
        let message = format!("spec_json has more than {} bytes", config::MAX_CONFIG);
        return Err(Failure::invalid(message));
    }
    let spec: Json = serde_json::from_str(spec_json)
        .map_err(|error| Failure::invalid(format!("spec_json is not JSON: {error}")))?;
    let word = spec.get("pattern").and_then(Json::as_str);
    word.and_then(Pattern::of).ok_or_else(missing)
}

#[tonic::async_trait]
impl<P: Users + Plans> Service for PatternEngine<P> {
    async fn execute(
        &self,
        request: Request<wire::ExecuteRequest>,
    ) -> Result<Response<wire::ExecuteResponse>, Status> {
        let who = nameless(&*self.port, &request).await?;
        let said = request.into_inner();
        let pattern = named(&said.spec_json)?;
        let submission = PlanSubmission {
            foreign_id: (!said.job_id.is_empty()).then_some(said.job_id),
            plan: config::plan(pattern, &said.spec_json)?,
            notes: BTreeMap::from([
                (render::PATTERN.to_owned(), pattern.word().to_owned()),
                (render::CONFIG.to_owned(), said.spec_json),
            ]),
        };
        let plan = self.port.submit_plan(&who, submission).await?;
        let plan = self.port.plan_ended(&who, &plan.id).await?;
        let error = (plan.state != JobState::Succeeded).then(|| common::Error {
            code: "JOB_FAILED".to_owned(),
            message: plan.message.clone(),
            details: String::new(),
        });
        Ok(Response::new(wire::ExecuteResponse {
            result_json: render::result(&plan)
                .map(|json| json.to_string())
                .unwrap_or_default(),
            job_id: plan.id,
            error,
        }))
    }

    async fn get_health(
        &self,
        _: Request<wire::GetHealthRequest>,
    ) -> Result<Response<wire::HealthResponse>, Status> {
        Ok(Response::new(wire::HealthResponse {
            status: "healthy".to_owned(),
            pattern: "collaborative,comparative,chained".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }
}
