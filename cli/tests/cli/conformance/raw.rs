//! Bytes in the place of a message.

use bytes::{Buf, BufMut, Bytes};
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};

/// Messages as they are.
#[derive(Clone, Copy, Default)]
struct AsTheyAre;

impl Encoder for AsTheyAre {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for AsTheyAre {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

impl Codec for AsTheyAre {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

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
