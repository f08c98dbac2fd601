//! The wire of five systems, held to bytes that neither the `.proto` files nor generated
//! code had a part in (`golden/make.py`): by dynamic messages, which also have names and
//! types, and by the generated types of the calls that a user makes.

// What does not hold fails the test.
#![allow(clippy::unwrap_used)]

#[path = "golden/typed.rs"]
mod typed;

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde::Deserialize;
use serde_json::Value;

/// Fields that we add to a message of another system have numbers from here on.
const ADDED: u32 = 100;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Documented,
    Shipped,
}

/// What a golden file holds.
#[derive(Deserialize)]
struct Golden {
    methods: Vec<Method>,
    fields: Vec<Fields>,
    messages: Vec<Entry>,
}

#[derive(Deserialize)]
struct Method {
    service: String,
    method: String,
    request: String,
    answer: String,
    /// Whether the request is a stream, and the answer.
    streams: [bool; 2],
    form: Form,
}

/// The numbers that a message has.
#[derive(Deserialize)]
struct Fields {
    message: String,
    form: Form,
    numbers: BTreeSet<u32>,
}

#[derive(Deserialize)]
struct Entry {
    message: String,
    form: Form,
    hex: String,
    json: Value,
}

impl Entry {
    fn bytes(&self) -> Vec<u8> {
        let digits = self.hex.as_bytes().chunks(2);
        digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }
}

/// A system: its golden file, and the descriptors of its forms.
struct System {
    golden: Golden,
    pools: BTreeMap<Form, DescriptorPool>,
}

impl System {
    fn new(golden: &str, documented: &[u8], shipped: Option<&[u8]>) -> Self {
        let forms = [
            (Form::Documented, Some(documented)),
            (Form::Shipped, shipped),
        ];
        let pools = forms.into_iter().filter_map(|(form, descriptors)| {
            Some((form, DescriptorPool::decode(descriptors?).unwrap()))
        });
        Self {
            golden: serde_json::from_str(golden).unwrap(),
            pools: pools.collect(),
        }
    }

    fn message(&self, form: Form, name: &str) -> MessageDescriptor {
        let found = self.pools[&form].get_message_by_name(name);
        found.unwrap_or_else(|| panic!("there is no {form:?} {name}"))
    }

    fn check(&self) {
        for method in &self.golden.methods {
            self.check_method(method);
        }
        for fields in &self.golden.fields {
            let ours = self.message(fields.form, &fields.message);
            let ours: BTreeSet<u32> = ours
                .fields()
                .map(|field| field.number())
                .filter(|number| *number < ADDED)
                .collect();
            assert_eq!(ours, fields.numbers, "{:?} {}", fields.form, fields.message);
        }
        let mut typed = 0;
        for entry in &self.golden.messages {
            self.check_entry(entry);
            typed += usize::from(typed::check(entry));
        }
        assert!(typed > 0, "none was of a generated type");
    }

    fn check_method(&self, method: &Method) {
        let ours = self.pools[&method.form].get_service_by_name(&method.service);
        let ours = ours.unwrap_or_else(|| panic!("there is no {}", method.service));
        let ours = ours.methods().find(|ours| ours.name() == method.method);
        let ours = ours.unwrap_or_else(|| panic!("there is no {}", method.method));
        let streams = [ours.is_client_streaming(), ours.is_server_streaming()];
        assert_eq!(
            (ours.input().full_name(), ours.output().full_name(), streams),
            (&*method.request, &*method.answer, method.streams),
            "{}/{}",
            method.service,
            method.method
        );
    }

    fn check_entry(&self, entry: &Entry) {
        let Entry {
            message,
            form,
            hex,
            json,
        } = entry;
        let bytes = entry.bytes();
        let descriptor = self.message(*form, message);
        let decoded = DynamicMessage::decode(descriptor, &*bytes);
        let decoded = decoded.unwrap_or_else(|error| panic!("{form:?} {message} {hex}: {error}"));
        let shown = serde_json::to_value(&decoded).unwrap();
        assert_eq!(&shown, json, "{form:?} {message} {hex}");
        assert_eq!(decoded.encode_to_vec(), bytes, "{form:?} {message} {json}");
    }
}

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("golden/", $name, ".json"))
    };
}

#[test]
fn cyxwiz_is_on_the_wire_what_its_documentation_says() {
    use embermesh_proto::cyxwiz::{DESCRIPTORS, SHIPPED_DESCRIPTORS};
    System::new(golden!("cyxwiz"), DESCRIPTORS, Some(SHIPPED_DESCRIPTORS)).check();
}

#[test]
fn titancompute_is_on_the_wire_what_its_documentation_says() {
    use embermesh_proto::titancompute::DESCRIPTORS;
    System::new(golden!("titancompute"), DESCRIPTORS, None).check();
}

#[test]
fn zisk_is_on_the_wire_what_its_documentation_says() {
    System::new(golden!("zisk"), embermesh_proto::zisk::DESCRIPTORS, None).check();
}

#[test]
fn dim_is_on_the_wire_what_its_documentation_says() {
    System::new(golden!("dim"), embermesh_proto::dim::DESCRIPTORS, None).check();
}

#[test]
fn hivemind_is_on_the_wire_what_its_documentation_says() {
    use embermesh_proto::hivemind::{DESCRIPTORS, SHIPPED_DESCRIPTORS};
    System::new(golden!("hivemind"), DESCRIPTORS, Some(SHIPPED_DESCRIPTORS)).check();
}
