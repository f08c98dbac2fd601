//! Two requests whose documented and shipped forms use one number for different things.
//! The wire type of that field tells which form it is, so both are read, whatever the
//! profile of the listener:
//!
//! - `UploadTaskRequest`: field 3 is a text, the user's id, or a number, the memory.
//! - `RegisterWorkerNodeRequest`: field 12 is a double, the last heartbeat, or a text, the
//!   name of the graphics card.

use std::marker::PhantomData;

use ::bytes::{Buf, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, bytes, decode_key, int32, skip_field, string},
};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
};
use tonic_prost::ProstEncoder;

use crate::Profile;

/// Something with two forms.
pub(super) trait Form: Default + Send + 'static {
    /// Reads one field, or leaves it out.
    fn merge(
        &mut self,
        number: u32,
        wire: WireType,
        buffer: &mut impl Buf,
    ) -> Result<(), DecodeError>;

    /// Reads a whole message.
    fn read(buffer: &mut impl Buf) -> Result<Self, DecodeError> {
        let mut form = Self::default();
        while buffer.has_remaining() {
            let (number, wire) = decode_key(buffer)?;
            form.merge(number, wire, buffer)?;
        }
        Ok(form)
    }
}

/// A task, in either form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Upload {
    pub(super) task_id: String,
    pub(super) data: Bytes,
    pub(super) user_id: String,
    pub(super) memory_gb: i32,
    pub(super) cpu_score: i32,
    pub(super) gpu_score: i32,
    pub(super) gpu_memory_gb: i32,
    pub(super) location: String,
    pub(super) gpu_name: String,
}

impl Form for Upload {
    fn merge(
        &mut self,
        number: u32,
        wire: WireType,
        buffer: &mut impl Buf,
    ) -> Result<(), DecodeError> {
        let context = DecodeContext::default();
        match (number, wire) {
            (1, _) => string::merge(wire, &mut self.task_id, buffer, context),
            (2, _) => bytes::merge(wire, &mut self.data, buffer, context),
            (3, WireType::Varint) => int32::merge(wire, &mut self.memory_gb, buffer, context),
            (3 | 9, _) => string::merge(wire, &mut self.user_id, buffer, context),
            (4, _) => int32::merge(wire, &mut self.cpu_score, buffer, context),
            (5, _) => int32::merge(wire, &mut self.gpu_score, buffer, context),
            (6, _) => int32::merge(wire, &mut self.gpu_memory_gb, buffer, context),
            (7, _) => string::merge(wire, &mut self.location, buffer, context),
            (8, _) => string::merge(wire, &mut self.gpu_name, buffer, context),
            _ => skip_field(wire, number, buffer, context),
        }
    }
}

/// A worker, in either form. What it says of its trust and of its heartbeat is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Registration {
    /// The form that it came in, where its fields tell.
    pub(super) form: Option<Profile>,
    pub(super) node_id: String,
    pub(super) hostname: String,
    pub(super) cpu_cores: i32,
    pub(super) memory_gb: i32,
    pub(super) gpu_memory_gb: i32,
    pub(super) location: String,
    pub(super) port: i32,
    pub(super) gpu_name: String,
}

impl Form for Registration {
    fn merge(
        &mut self,
        number: u32,
        wire: WireType,
        buffer: &mut impl Buf,
    ) -> Result<(), DecodeError> {
        let context = DecodeContext::default();
        match (number, wire) {
            (1, _) => string::merge(wire, &mut self.node_id, buffer, context),
            (2, _) => string::merge(wire, &mut self.hostname, buffer, context),
            (3, _) => int32::merge(wire, &mut self.cpu_cores, buffer, context),
            (4, _) => int32::merge(wire, &mut self.memory_gb, buffer, context),
            (7, _) => int32::merge(wire, &mut self.gpu_memory_gb, buffer, context),
            (8, _) => string::merge(wire, &mut self.location, buffer, context),
            (9, _) => int32::merge(wire, &mut self.port, buffer, context),
            (10, _) => string::merge(wire, &mut self.gpu_name, buffer, context),
            (12, WireType::SixtyFourBit) => {
                self.form = Some(Profile::Documented);
                skip_field(wire, number, buffer, context)
            }
            (12, WireType::LengthDelimited) => {
                self.form = Some(Profile::Shipped);
                string::merge(wire, &mut self.gpu_name, buffer, context)
            }
            _ => skip_field(wire, number, buffer, context),
        }
    }
}

/// Reads a form and writes an answer.
#[derive(Debug)]
pub(super) struct FormCodec<F, A>(PhantomData<fn(F) -> A>);

impl<F, A> Default for FormCodec<F, A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<F: Form, A: Message + 'static> Codec for FormCodec<F, A> {
    type Encode = A;
    type Decode = F;
    type Encoder = ProstEncoder<A>;
    type Decoder = FormDecoder<F>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        FormDecoder(PhantomData)
    }
}

/// Reads a form.
#[derive(Debug)]
pub(super) struct FormDecoder<F>(PhantomData<fn() -> F>);

impl<F: Form> Decoder for FormDecoder<F> {
    type Item = F;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<F>, Status> {
        let read = F::read(buffer).map_err(|error| {
            Status::invalid_argument(format!("the request is not of its form: {error}"))
        });
        read.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by hand from the tables of fields: key bytes are `number << 3 | wire type`.
    const DOCUMENTED_UPLOAD: &[u8] = b"\x0a\x02t1\x12\x03abc\x1a\x03ada";
    const SHIPPED_UPLOAD: &[u8] =
        b"\x0a\x02t1\x12\x03abc\x18\x04\x20\x64\x28\x07\x30\x02\x3a\x03Any\x42\x01G\x4a\x03ada";
    const DOCUMENTED_WORKER: &[u8] =
        b"\x0a\x01w\x12\x01h\x18\x08\x20\x10\x28\x01\x30\x01\x38\x06\x42\x01L\x48\x9a\x87\x03\x52\x03GPU\x58\x64\x61\x00\x00\x00\x00\x00\x00\xf0\x3f\x6a\x02on";
    const SHIPPED_WORKER: &[u8] =
        b"\x0a\x01w\x12\x01h\x18\x08\x20\x10\x28\x01\x30\x01\x38\x06\x42\x01L\x48\x9a\x87\x03\x62\x03GPU\x6a\x02on";

    #[test]
    fn both_forms_of_a_task_are_read() {
        let documented = Upload {
            task_id: "t1".to_owned(),
            data: Bytes::from_static(b"abc"),
            user_id: "ada".to_owned(),
            ..Upload::default()
        };
        assert_eq!(
            Upload::read(&mut &*DOCUMENTED_UPLOAD),
            Ok(documented.clone())
        );
        let shipped = Upload {
            memory_gb: 4,
            cpu_score: 100,
            gpu_score: 7,
            gpu_memory_gb: 2,
            location: "Any".to_owned(),
            gpu_name: "G".to_owned(),
            ..documented
        };
        assert_eq!(Upload::read(&mut &*SHIPPED_UPLOAD), Ok(shipped));
    }

    #[test]
    fn both_forms_of_a_worker_are_the_same_worker() {
        let worker = Registration {
            form: Some(Profile::Documented),
            node_id: "w".to_owned(),
            hostname: "h".to_owned(),
            cpu_cores: 8,
            memory_gb: 16,
            gpu_memory_gb: 6,
            location: "L".to_owned(),
            port: 50_074,
            gpu_name: "GPU".to_owned(),
        };
        assert_eq!(
            Registration::read(&mut &*DOCUMENTED_WORKER),
            Ok(worker.clone())
        );
        let shipped = Registration {
            form: Some(Profile::Shipped),
            ..worker
        };
        assert_eq!(Registration::read(&mut &*SHIPPED_WORKER), Ok(shipped));
    }

    #[test]
    fn what_is_cut_short_or_of_another_type_is_refused() {
        let cut = &DOCUMENTED_UPLOAD[..DOCUMENTED_UPLOAD.len() - 1];
        assert!(Upload::read(&mut &*cut).is_err());
        // A number for the name, text that is no UTF-8, a field with the number 0, a group
        // that never ends.
        for garbage in [
            b"\x08\x01".as_slice(),
            b"\x0a\x02\xff\xfe",
            b"\x02\x00",
            b"\x9b\x06",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        ] {
            assert!(Upload::read(&mut &*garbage).is_err(), "{garbage:?}");
            assert!(Registration::read(&mut &*garbage).is_err(), "{garbage:?}");
        }
        // Fields of a later version are left out.
        let later: &[u8] = b"\x0a\x02t1\xa0\x06\x07";
        assert_eq!(
            Upload::read(&mut &*later).map(|upload| upload.task_id),
            Ok("t1".to_owned())
        );
    }
}
