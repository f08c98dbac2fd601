//! What a request has read so far: the keys and values of every layer.

/// Keys and values of one request, for a fixed number of tokens.
#[derive(Debug)]
pub(crate) struct Cache {
    keys: Vec<f32>,
    values: Vec<f32>,
    /// Tokens that it has room for.
    room: usize,
    /// Numbers of one token in one layer.
    width: usize,
}

impl Cache {
    /// Bytes of a cache.
    pub(crate) fn bytes(layers: usize, width: usize, room: usize) -> u64 {
        let numbers = (layers as u64)
            .saturating_mul(width as u64)
            .saturating_mul(room as u64);
        numbers.saturating_mul(2 * size_of::<f32>() as u64)
    }

    /// An empty one, once its [bytes](Self::bytes) are known to be there.
    pub(crate) fn new(layers: usize, width: usize, room: usize) -> Self {
        let len = layers * width * room;
        Self {
            keys: vec![0.0; len],
            values: vec![0.0; len],
            room,
            width,
        }
    }

    /// The [bytes](Self::bytes) that it was made with.
    pub(crate) fn size(&self) -> u64 {
        (2 * self.keys.len() * size_of::<f32>()) as u64
    }

    /// Keeps what a token has in a layer.
    pub(crate) fn put(&mut self, layer: usize, position: usize, key: &[f32], value: &[f32]) {
        let at = (layer * self.room + position) * self.width;
        self.keys[at..at + self.width].copy_from_slice(key);
        self.values[at..at + self.width].copy_from_slice(value);
    }

    /// Keys and values of the first tokens in a layer, token by token.
    pub(crate) fn upto(&self, layer: usize, tokens: usize) -> (&[f32], &[f32]) {
        let at = layer * self.room * self.width;
        let range = at..at + tokens * self.width;
        (&self.keys[range.clone()], &self.values[range])
    }
}
