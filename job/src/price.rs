//! What time on a node costs.

use crate::units::{MicroUnits, Millis};

const HOUR_MS: u128 = 3_600_000;

/// What a span costs at a price for an hour, rounded up to a whole millionth, so
/// that nothing which takes time is free on a node that asks something.
#[must_use]
pub fn cost(price_per_hour: MicroUnits, span: Millis) -> MicroUnits {
    let whole = u128::from(price_per_hour.0) * u128::from(span.0);
    MicroUnits(u64::try_from(whole.div_ceil(HOUR_MS)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_charged_by_the_millisecond_and_rounded_up() {
        let cost = |price, span| cost(MicroUnits(price), Millis(span)).0;
        assert_eq!(cost(3_600_000, 1), 1);
        assert_eq!(cost(3_600_000, 3_600_000), 3_600_000);
        assert_eq!(cost(250_000, 1_800_000), 125_000);
        assert_eq!(cost(1, 1), 1);
        assert_eq!(cost(1, 3_600_001), 2);
        assert_eq!((cost(0, 1_000), cost(1_000, 0)), (0, 0));
        assert_eq!(cost(u64::MAX, u64::MAX), u64::MAX);
    }
}
