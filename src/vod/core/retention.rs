//! How long recordings are kept.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::manifest::{Manifest, State};

/// Whether a recording ended longer ago than it is kept: as its room said, or else for `keep_for`, where
/// zero is for ever. What is still recorded never has.
pub fn is_expired(manifest: &Manifest, keep_for: Duration, now: DateTime<Utc>) -> bool {
    let own = manifest.keep_for_s.map(Duration::from_secs);
    let keep_for = own.unwrap_or(keep_for);
    if keep_for.is_zero() {
        return false;
    }
    let age = now - manifest.started_at;
    let kept = TimeDelta::from_std(manifest.duration().saturating_add(keep_for));
    manifest.state == State::Complete && kept.is_ok_and(|kept| age > kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::BroadcastId;
    use crate::vod::core::manifest::RecordingInfo;

    #[test]
    fn the_time_begins_at_the_end() {
        let started_at = DateTime::UNIX_EPOCH;
        let mut manifest = Manifest::new(RecordingInfo {
            id: BroadcastId(uuid::Uuid::nil()),
            room: "show".parse().expect("a name"),
            started_at,
            private: false,
            keep_for: None,
            renditions: Vec::new(),
        });
        let day = Duration::from_secs(86_400);
        let after = |days: i64| started_at + TimeDelta::days(days);
        assert!(!is_expired(&manifest, day, after(9)), "it may still run");
        manifest.state = State::Complete;
        assert!(!is_expired(&manifest, day, after(1)));
        assert!(is_expired(&manifest, day, after(2)));
        assert!(!is_expired(&manifest, Duration::MAX, after(9)));
        assert!(!is_expired(&manifest, Duration::ZERO, after(9)));
        manifest.keep_for_s = Some(2 * 86_400);
        assert!(!is_expired(&manifest, day, after(2)));
        assert!(is_expired(&manifest, Duration::ZERO, after(3)));
    }
}
