//! Windows that slide over a text.

/// Some tokens of a text, of which the last ones count.
pub(super) struct Window<'t> {
    pub(super) tokens: &'t [u32],
    /// The first that counts, by its place in the window, from 1.
    pub(super) from: usize,
}

/// The windows of a text.
pub(super) fn slide(
    tokens: &[u32],
    window: usize,
    stride: usize,
) -> impl Iterator<Item = Window<'_>> {
    let (mut begin, mut counted) = (0, 0);
    std::iter::from_fn(move || {
        if counted >= tokens.len() {
            return None;
        }
        let end = tokens.len().min(begin + window);
        let next = Window {
            tokens: &tokens[begin..end],
            from: (counted.max(begin + 1)) - begin,
        };
        (begin, counted) = (begin + stride, end);
        Some(next)
    })
    .filter(|window| window.from < window.tokens.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(len: u32, window: usize, stride: usize) -> Vec<(u32, usize, usize)> {
        let tokens: Vec<u32> = (0..len).collect();
        slide(&tokens, window, stride)
            .map(|window| (window.tokens[0], window.tokens.len(), window.from))
            .collect()
    }

    #[test]
    fn windows_count_each_token_once() {
        // Begin, length, first that counts.
        assert_eq!(counted(10, 16, 8), [(0, 10, 1)]);
        assert_eq!(
            counted(10, 4, 2),
            [(0, 4, 1), (2, 4, 2), (4, 4, 2), (6, 4, 2)]
        );
        assert_eq!(counted(9, 4, 3), [(0, 4, 1), (3, 4, 1), (6, 3, 1)]);
        // Without overlap the first of each is foreseen from nothing.
        assert_eq!(counted(9, 4, 4), [(0, 4, 1), (4, 4, 1)]);
        assert!(counted(1, 4, 2).is_empty() && counted(0, 4, 2).is_empty());
    }
}
