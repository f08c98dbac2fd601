//! Sizes, times and shares, short.

use std::time::Duration;

use embermesh_crypto::time::UnixMillis;

/// A mean loss; a prediction has none.
pub(crate) fn loss(loss: f64) -> String {
    if loss.is_nan() {
        "-".to_owned()
    } else {
        format!("{loss:.4}")
    }
}

/// "1.5 MiB".
pub(crate) fn bytes(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// "1m 5s"; below a minute with tenths.
pub(crate) fn span(span: Duration) -> String {
    let millis = span.as_millis();
    if millis < 1_000 {
        return format!("{millis} ms");
    }
    if millis < 60_000 {
        return format!("{:.1} s", span.as_secs_f64());
    }
    humantime::format_duration(Duration::from_secs(span.as_secs())).to_string()
}

/// "3.2 s ago".
pub(crate) fn ago(then: UnixMillis, now: UnixMillis) -> String {
    format!("{} ago", span(now.since(then)))
}

/// "2026-11-21T05:00:00Z".
pub(crate) fn instant(at: UnixMillis) -> String {
    let time = std::time::UNIX_EPOCH + Duration::from_millis(at.0);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// "97.5 %".
pub(crate) fn share(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A share that may not be there.
pub(crate) fn maybe_share(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(span(Duration::from_millis(40)), "40 ms");
        assert_eq!(span(Duration::from_millis(3_240)), "3.2 s");
        assert_eq!(span(Duration::from_secs(65)), "1m 5s");
        assert_eq!(share(0.9755), "97.5 %");
        assert_eq!(instant(UnixMillis(0)), "1970-01-01T00:00:00Z");
    }
}
