//! The networks that are measured, and the data for them.

/// A network, its input, the batch, and the steps of a turn.
#[derive(Clone, Copy)]
pub(crate) struct Contest {
    pub(crate) name: &'static str,
    pub(crate) input: &'static str,
    pub(crate) layers: &'static str,
    pub(crate) batch: usize,
    pub(crate) steps: usize,
    pub(crate) classes: u32,
}

/// A decoder of 4 blocks over the last 64 of 256 symbols, which tells the next one.
const GPT: &str = r#"[{"op":"embedding","entries":256,"features":128},{"op":"position"},
    {"op":"transformer_encoder","heads":4,"units":512,"activation":"gelu","norm_first":true,"causal":true,"dropout":0},
    {"op":"transformer_encoder","heads":4,"units":512,"activation":"gelu","norm_first":true,"causal":true,"dropout":0},
    {"op":"transformer_encoder","heads":4,"units":512,"activation":"gelu","norm_first":true,"causal":true,"dropout":0},
    {"op":"transformer_encoder","heads":4,"units":512,"activation":"gelu","norm_first":true,"causal":true,"dropout":0},
    {"op":"layer_norm"},{"op":"last"},{"op":"dense","units":256}]"#;

pub(crate) const CONTESTS: [Contest; 4] = [
    Contest {
        name: "mlp",
        input: "[1,28,28]",
        layers: r#"[{"op":"flatten"},{"op":"dense","units":512},{"op":"relu"},{"op":"dense","units":256},
            {"op":"relu"},{"op":"dense","units":10}]"#,
        batch: 128,
        steps: 600,
        classes: 10,
    },
    Contest {
        name: "lenet",
        input: "[1,28,28]",
        layers: r#"[{"op":"conv2d","channels":6,"kernel":5,"padding":2},{"op":"relu"},{"op":"max_pool2d","kernel":2},
            {"op":"conv2d","channels":16,"kernel":5},{"op":"relu"},{"op":"max_pool2d","kernel":2},
            {"op":"flatten"},{"op":"dense","units":120},{"op":"relu"},{"op":"dense","units":84},
            {"op":"relu"},{"op":"dense","units":10}]"#,
        batch: 64,
        steps: 300,
        classes: 10,
    },
    Contest {
        name: "cnn",
        input: "[1,28,28]",
        layers: r#"[{"op":"conv2d","channels":32,"kernel":3},{"op":"relu"},
            {"op":"conv2d","channels":64,"kernel":3},{"op":"relu"},{"op":"max_pool2d","kernel":2},
            {"op":"flatten"},{"op":"dense","units":128},{"op":"relu"},{"op":"dense","units":10}]"#,
        batch: 64,
        steps: 60,
        classes: 10,
    },
    Contest {
        name: "gpt",
        input: "[64]",
        layers: GPT,
        batch: 32,
        steps: 40,
        classes: 256,
    },
];

impl Contest {
    /// The shape of one sample.
    fn shape(&self) -> Vec<usize> {
        serde_json::from_str(self.input).unwrap()
    }

    /// How samples are scaled: pixels to 1 at most, symbols not at all.
    pub(crate) fn scale(&self) -> &'static str {
        if self.shape().len() == 3 {
            r#","normalise":{"scale":{"from":0,"to":255}}"#
        } else {
            ""
        }
    }

    /// So many random samples: bytes as a NumPy array.
    pub(crate) fn features(&self, samples: usize) -> Vec<u8> {
        let shape = self.shape();
        let count = samples * shape.iter().product::<usize>();
        array(&[&[samples], &shape[..]].concat(), random(count, 256))
    }

    /// A random class for each.
    pub(crate) fn targets(&self, samples: usize) -> Vec<u8> {
        array(&[samples], random(samples, self.classes))
    }
}

fn random(count: usize, below: u32) -> Vec<u8> {
    let mut state = 1_u32;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) % below) as u8
        })
        .collect()
}

/// Bytes as NumPy writes them.
fn array(shape: &[usize], values: Vec<u8>) -> Vec<u8> {
    let sizes: Vec<String> = shape.iter().map(|size| format!("{size},")).collect();
    let mut header = format!(
        "{{'descr': '|u1', 'fortran_order': False, 'shape': ({}), }}",
        sizes.concat()
    );
    // Magic, version and length are 10 bytes; all of it is a multiple of 64.
    while !(header.len() + 11).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.into_bytes());
    bytes.extend(values);
    bytes
}
