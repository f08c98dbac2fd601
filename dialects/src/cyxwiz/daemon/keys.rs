//! Keys that the owner gives to programs that may look.

use tonic::{Request, Response};

use super::{Answer, call, obeyed, wire};
use crate::{
    Failure,
    cyxwiz::code,
    port::node::owner::keys::{KeyView, Keys},
};

pub(super) async fn list<P: Keys>(
    port: &P,
    request: &Request<wire::ListApiKeysRequest>,
) -> Answer<wire::ListApiKeysResponse> {
    let keys = port.keys(&call(request, "")).await?;
    Ok(Response::new(wire::ListApiKeysResponse {
        keys: keys.iter().map(info).collect(),
    }))
}

pub(super) async fn create<P: Keys>(
    port: &P,
    request: &Request<wire::CreateApiKeyRequest>,
) -> Answer<wire::CreateApiKeyResponse> {
    let said = request.get_ref();
    let made = async {
        let per_minute = u32::try_from(said.rate_limit_rpm)
            .map_err(|_| Failure::invalid("rate_limit_rpm: it is less than nothing"))?;
        port.make_key(&call(request, ""), &said.name, per_minute)
            .await
    };
    let made = made.await;
    let (key_info, key) = match &made {
        Ok((view, secret)) => (Some(info(view)), secret.clone()),
        Err(_) => (None, String::new()),
    };
    let (success, error_message) = obeyed(made.map(|_| ()))?;
    Ok(Response::new(wire::CreateApiKeyResponse {
        success,
        key,
        key_info,
        error_message,
    }))
}

pub(super) async fn revoke<P: Keys>(
    port: &P,
    request: &Request<wire::RevokeApiKeyRequest>,
) -> Answer<wire::RevokeApiKeyResponse> {
    let call = call(request, "");
    let revoked = port.revoke_key(&call, &request.get_ref().key_id).await;
    let (success, error_message) = obeyed(revoked)?;
    Ok(Response::new(wire::RevokeApiKeyResponse {
        success,
        error_message,
    }))
}

/// A key as it is shown. One that was revoked is no more.
fn info(key: &KeyView) -> wire::ApiKeyInfo {
    wire::ApiKeyInfo {
        id: key.id.clone(),
        name: key.name.clone(),
        key_prefix: key.prefix.clone(),
        created_at: code::seconds(Some(key.made)),
        last_used_at: code::seconds(key.used),
        request_count: code::int64(key.calls),
        rate_limit_rpm: code::int32(key.per_minute.into()),
        is_active: true,
    }
}
