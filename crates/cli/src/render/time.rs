//! Spans of time.

use jiff::Timestamp;
use std::time::Duration;

/// A duration in milliseconds, as the wire has it.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration that somebody waited for: `340 ms`, `11.2 s`, `2 min 5 s`.
pub(crate) fn elapsed(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100),
        _ => format!("{} min {} s", milliseconds / 60_000, milliseconds % 60_000 / 1_000),
    }
}

/// A long span in its largest unit: `42s`, `5m`, `3h`, `2d`.
pub(crate) fn rough(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long ago an RFC 3339 time was; `-` when it cannot be read.
pub(crate) fn age(since: &str, now: Timestamp) -> String {
    match since.parse::<Timestamp>() {
        // A clock that was set back makes things younger than nothing.
        Ok(since) => rough(u64::try_from(now.as_second() - since.as_second()).unwrap_or_default()),
        Err(_) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well_at_their_borders() {
        assert_eq!([999, 1_000, 59_999].map(elapsed), ["999 ms", "1.0 s", "59.9 s"]);
        assert_eq!(elapsed(125_000), "2 min 5 s");
        assert_eq!([59, 60, 3_599, 3_600, 86_400].map(rough), ["59s", "1m", "59m", "1h", "1d"]);
    }

    #[test]
    fn an_age_survives_a_clock_that_was_set_back() {
        let now = "2024-05-02T10:00:00Z".parse().unwrap();
        assert_eq!(age("2024-05-02T09:30:00.5Z", now), "30m");
        assert_eq!(age("2024-05-03T00:00:00Z", now), "0s");
        assert_eq!(age("yesterday", now), "-");
    }
}
