//! Messages that nobody should send, to every call of every system: each is answered, and
//! none breaks the connection that it came on.
//!
//! A case is drawn from a seed; a failure names it and the call.

use std::{
    panic,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use bytes::Bytes;
use embermesh_dialects::Profile;
use embermesh_mesh::road::ListenConfig;
use embermesh_proto::{cyxwiz, dim, hivemind, titancompute, zisk};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
    prost::Message as _,
};
use tonic::transport::Channel;

use crate::support::{ALL, Ports, answer, connect};

/// Cases of each call.
const CASES: u64 = 12;
/// How deep messages are made.
const DEPTH: usize = 4;

/// Panics in the tasks of this process: those of the gateway are among them.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// The words of a seed, by SplitMix64.
struct Draw(u64);

impl Draw {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.word() % bound as u64) as usize
    }

    fn number(&mut self) -> i64 {
        let numbers = [0, 1, -1, 7, i64::from(i32::MAX), i64::MIN, i64::MAX];
        numbers[self.below(numbers.len())]
    }

    fn float(&mut self) -> f64 {
        let numbers = [0.0, -0.0, 1.5, -1.0, f64::NAN, f64::INFINITY, f64::MAX];
        numbers[self.below(numbers.len())]
    }

    fn text(&mut self) -> String {
        let texts = [
            "",
            "a",
            "../../etc/passwd",
            "job-1",
            "{",
            r#"{"model_id": 1, "nodes": [[]], "pipeline": [7], "layers": [{"type": 3}]}"#,
            r#"{"model_id": "m", "nodes": ["n"], "model_ids": ["m", "n"], "input_data": {"rows": [[1e999]]}}"#,
            "\u{0}\u{7f}\u{fffd}",
            "blake3:00?size=99999999999999999999",
            "1,2\n3",
            "naïve 🦀",
        ];
        if self.below(16) == 0 {
            return "x".repeat(70_000);
        }
        texts[self.below(texts.len())].to_owned()
    }

    fn bytes(&mut self) -> Bytes {
        let heads: [&[u8]; 5] = [b"", b"PK\x03\x04", b"\x1f\x8b\x08", b"GGUF", b"\xff"];
        let mut bytes = heads[self.below(heads.len())].to_vec();
        for _ in 0..self.below(64) {
            bytes.push(self.word().to_le_bytes()[0]);
        }
        bytes.into()
    }

    #[allow(clippy::cast_possible_truncation, reason = "any number will do")]
    fn value(&mut self, kind: &Kind, depth: usize) -> Value {
        match kind {
            Kind::Double => Value::F64(self.float()),
            Kind::Float => Value::F32(self.float() as f32),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(self.number() as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.number()),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.number() as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.number().cast_unsigned()),
            Kind::Bool => Value::Bool(self.below(2) == 0),
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.bytes()),
            Kind::Enum(_) => Value::EnumNumber(self.below(12) as i32 - 1),
            Kind::Message(message) => Value::Message(self.message(message, depth + 1)),
        }
    }

    fn field(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        if field.is_map() {
            let value = match field.kind() {
                Kind::Message(entry) => entry.map_entry_value_field().kind(),
                other => other,
            };
            let many = self.below(3);
            let entries =
                (0..many).map(|_| (MapKey::String(self.text()), self.value(&value, depth)));
            return Value::Map(entries.collect());
        }
        if field.is_list() {
            let many = self.below(4);
            let values = (0..many).map(|_| self.value(&field.kind(), depth));
            return Value::List(values.collect());
        }
        self.value(&field.kind(), depth)
    }

    fn message(&mut self, of: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        for field in of.fields() {
            if depth < DEPTH && self.below(4) > 0 {
                // A field whose keys are no texts is left out.
                let value = self.field(&field, depth);
                let _ = message.try_set_field(&field, value);
            }
        }
        message
    }
}

/// A message of a call, or bytes that may be none.
fn case(input: &MessageDescriptor, seed: u64) -> Bytes {
    let mut draw = Draw(seed);
    let mut bytes = draw.message(input, 0).encode_to_vec();
    // Every third is broken somewhere.
    if seed.is_multiple_of(3) && !bytes.is_empty() {
        for _ in 0..3 {
            let at = draw.below(bytes.len());
            bytes[at] = draw.word().to_le_bytes()[0];
        }
    }
    bytes.into()
}

async fn every_call(channel: &Channel, descriptors: &'static [u8]) -> usize {
    let pool = DescriptorPool::decode(descriptors).unwrap();
    let mut calls = 0;
    for service in pool.services() {
        for method in service.methods() {
            let rpc = format!("{}/{}", service.full_name(), method.name());
            let input = method.input();
            let said = (0..CASES).map(|seed| answer(channel, &rpc, case(&input, seed)));
            futures::future::join_all(said).await;
            let panics = PANICS.load(Ordering::SeqCst);
            assert_eq!(panics, 0, "{rpc}, a seed below {CASES}");
            calls += 1;
        }
    }
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_said_is_answered() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        // The port's tasks, and no test that fails beside this one.
        if thread::current().name() == Some("tokio-rt-worker") {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        before(panic);
    }));
    let ports = Ports::trusting().await;
    let usual = ListenConfig::default();
    let port = ports.open(&usual, &ALL, Profile::Documented).await;
    let mut calls = 0;
    for descriptors in [
        cyxwiz::DESCRIPTORS,
        titancompute::DESCRIPTORS,
        zisk::DESCRIPTORS,
        dim::DESCRIPTORS,
        hivemind::DESCRIPTORS,
    ] {
        let channel = connect(port).await.unwrap();
        calls += every_call(&channel, descriptors).await;
    }
    assert!(calls > 150, "{calls}");
    let port = ports.open(&usual, &ALL, Profile::Shipped).await;
    for descriptors in [cyxwiz::SHIPPED_DESCRIPTORS, hivemind::SHIPPED_DESCRIPTORS] {
        let channel = connect(port).await.unwrap();
        every_call(&channel, descriptors).await;
    }
}
