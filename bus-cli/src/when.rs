//! Times and places in logs, as people write them.

use std::time::{Duration, SystemTime};

use bus::{Options, Position, Start};
use jiff::Timestamp;

/// A length of time: `250ms`, `30s`, `5m`, `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let mut options = Options::default();
    options.set("duration", text);
    match options.take_duration("duration") {
        Ok(Some(duration)) => Ok(duration),
        _ => Err("write a length of time such as 250ms, 30s, 5m or 7d".into()),
    }
}

/// A time: RFC 3339, or how long ago.
pub(crate) fn time(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.into());
    }
    duration(text)
        .ok()
        .and_then(|ago| SystemTime::now().checked_sub(ago))
        .ok_or_else(|| {
            "write a time such as 2026-01-31T12:00:00Z, or how long ago, such as 5m or 7d".into()
        })
}

/// Where to start: `earliest`, `latest`, a position as the bus printed it, or a time.
pub(crate) fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => return Ok(Start::Earliest),
        "latest" => return Ok(Start::Latest),
        _ => {}
    }
    if text.contains('@') {
        let position = text.parse::<Position>();
        return position
            .map(Start::Position)
            .map_err(|error| error.to_string());
    }
    time(text).map(Start::Time).map_err(|_| {
        "write earliest, latest, a position as the bus printed it, a time such as \
         2026-01-31T12:00:00Z, or how long ago, such as 5m"
            .into()
    })
}

/// A time for people and programs: RFC 3339.
pub(crate) fn text(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "?".into(), |time| format!("{time:.3}"))
}

/// How long ago, in one unit.
pub(crate) fn ago(time: SystemTime) -> String {
    let seconds = SystemTime::now()
        .duration_since(time)
        .unwrap_or_default()
        .as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_places_are_read() {
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert!(duration("soon").is_err());
        let noon = time("2026-01-31T12:00:00Z").unwrap();
        assert_eq!(text(noon), "2026-01-31T12:00:00.000Z");
        assert!(time("1h").unwrap() < SystemTime::now());
        assert_eq!(start("earliest"), Ok(Start::Earliest));
        assert!(matches!(
            start("log@1-0@1700000000000"),
            Ok(Start::Position(_))
        ));
        assert!(matches!(start("5m"), Ok(Start::Time(_))));
        assert!(start("yesterday").is_err() && start("a@b").is_err());
    }

    #[test]
    fn ages_have_one_unit() {
        let before = |seconds| SystemTime::now() - Duration::from_secs(seconds);
        assert_eq!(ago(before(5)), "5s");
        assert_eq!(ago(before(600)), "10m");
        assert_eq!(ago(before(200_000)), "2d");
    }
}
