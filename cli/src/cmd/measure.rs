//! An origin whose digest the job file does not say: fetched once, here, to learn it.

use std::env;

use embermesh_job::spec::Input;
use embermesh_node::origins::{S3Config, Secret, measure};

use crate::{exit::WrongInput, runtime};

/// The most bytes that are read.
const MAX_BYTES: u64 = 64 << 30;

/// Reads an origin to its end, keeps nothing, and says on stderr what it is.
pub(crate) fn origin(origin: &str) -> anyhow::Result<Input> {
    let shown = origin.split('?').next().unwrap_or_default();
    eprintln!("reading {shown} once, to learn its digest and size");
    let s3 = with_environment(S3Config::default());
    let input = runtime::run(async { Ok(Box::pin(measure(origin, &s3, MAX_BYTES)).await) })?
        .map_err(|fault| WrongInput(fault.to_string()))?;
    eprintln!(
        "write `digest = \"{}\", size = {}` beside its `url` and it is not read again",
        input.digest, input.size
    );
    Ok(input)
}

/// The same with what the environment says of credentials, where nothing else does.
pub(crate) fn with_environment(mut s3: S3Config) -> S3Config {
    if s3.access_key_id.is_empty()
        && let (Ok(id), Ok(secret)) = (
            env::var("AWS_ACCESS_KEY_ID"),
            env::var("AWS_SECRET_ACCESS_KEY"),
        )
    {
        s3.access_key_id = id;
        s3.secret_access_key = Secret::new(secret);
        s3.session_token = Secret::new(env::var("AWS_SESSION_TOKEN").unwrap_or_default());
    }
    if s3.region.is_empty() {
        s3.region = env::var("AWS_REGION").unwrap_or_default();
    }
    if s3.endpoint.is_empty() {
        s3.endpoint = env::var("AWS_ENDPOINT_URL").unwrap_or_default();
    }
    s3
}
