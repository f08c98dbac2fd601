//! An object of S3, or of a server that speaks like it, through `object_store`, with
//! the node owner's credentials.

use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use object_store::{
    ClientOptions, Error, GetOptions, GetRange, ObjectStore as _, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    client::{HttpClient, HttpConnector},
    path::Path,
};

use super::{
    config::S3Config,
    guard::{chain, client_of_server},
    transfer::{Body, Cut, Opened, Readable},
};

/// Amazon's usual region.
const REGION: &str = "us-east-1";

/// An object.
pub(super) struct Object {
    store: AmazonS3,
    key: Path,
}

/// Gives `object_store` a client whose connections are judged.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl Object {
    pub(super) fn new(config: &S3Config, bucket: &str, key: &str) -> Result<Self, String> {
        let named = !config.endpoint.is_empty();
        let region = match config.region.as_str() {
            "" => REGION,
            region => region,
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_http_connector(Connector(client_of_server(named)?))
            // A cut is ours to mend: we know what has come.
            .with_retry(RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            });
        if named {
            builder = builder
                .with_endpoint(config.endpoint.clone())
                .with_allow_http(config.endpoint.starts_with("http://"));
        }
        builder = if config.access_key_id.is_empty() {
            // No other source of credentials is looked for.
            builder.with_skip_signature(true)
        } else {
            builder
                .with_access_key_id(config.access_key_id.clone())
                .with_secret_access_key(config.secret_access_key.reveal())
        };
        let token = config.session_token.reveal();
        if !token.is_empty() {
            builder = builder.with_token(token);
        }
        Ok(Self {
            store: builder.build().map_err(|error| chain(&error))?,
            key: Path::parse(key).map_err(|error| error.to_string())?,
        })
    }
}

impl Readable for Object {
    fn open(&self, offset: u64) -> BoxFuture<'_, Result<Opened, Cut>> {
        Box::pin(async move {
            let options = GetOptions {
                range: (offset > 0).then_some(GetRange::Offset(offset)),
                ..GetOptions::default()
            };
            let answer = self.store.get_opts(&self.key, options).await.map_err(cut)?;
            Ok(Opened {
                offset: answer.range.start,
                size: Some(answer.meta.size),
                body: Box::new(Answer(answer.into_stream())),
            })
        })
    }
}

struct Answer(BoxStream<'static, object_store::Result<Bytes>>);

impl Body for Answer {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Cut>> {
        Box::pin(async { self.0.next().await.transpose().map_err(cut) })
    }
}

fn cut(error: Error) -> Cut {
    match error {
        Error::NotFound { .. } => Cut::Final("there is no such object".to_owned()),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            Cut::Final("the owner's credentials may not read it".to_owned())
        }
        Error::Generic { .. } => {
            let reason = chain(&error);
            if reason.contains("private network") {
                Cut::Final(reason)
            } else {
                Cut::Passing(reason)
            }
        }
        other => Cut::Final(chain(&other)),
    }
}
