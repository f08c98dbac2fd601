//! Bytes in the place of a message.

#[path = "../../../../gateway/tests/ports/raw.rs"]
mod codec;

use bytes::Bytes;
use tonic::{Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};

use self::codec::AsTheyAre;

/// Calls with these bytes; the status, which may be that all went well.
pub(super) async fn call(channel: Channel, path: &'static str, bytes: Bytes) -> Status {
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static(path);
    let answer = client.unary(Request::new(bytes), path, AsTheyAre).await;
    answer.err().unwrap_or_else(|| Status::ok(""))
}

/// What is no message of any kind: a field that ends before its length, a number without
/// an end, a tag of no field, a text that is no text, groups without an end.
pub(super) fn garbage() -> impl Iterator<Item = Bytes> {
    [
        &b"\x0a\xff\xff\xff\x7fabc"[..],
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x00\x01",
        b"\x0a\x02\xc3\x28",
        &[0x0b; 300],
    ]
    .into_iter()
    .map(Bytes::from_static)
}
