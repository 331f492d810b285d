//! Samples the connections into metrics: how well the paths to all participants are.

use std::collections::HashMap;
use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::metrics as name;
use crate::rtc::core::connection::ConnectionStats;
use crate::rtc::core::ice::Transport;
use crate::rtc::{ConnectionId, Rtc};

const EVERY: Duration = Duration::from_secs(10);

const DIRECTION: &str = "direction";
const RECEIVED: &str = "received";
const SENT: &str = "sent";

/// Samples for ever.
pub async fn keep(rtc: Rtc) {
    let mut last = HashMap::new();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let survey = rtc.survey().await;
        count(&survey);
        last = sample(survey, &last);
    }
}

fn count(survey: &[(ConnectionId, ConnectionStats)]) {
    let transports = [Transport::Udp, Transport::Tcp, Transport::Relay];
    for transport in transports.into_iter().map(Some).chain([None]) {
        let word = transport.map_or("none", Transport::name);
        let connections = survey.iter().map(|(_, stats)| stats.path);
        let count = connections.filter(|path| path.map(|p| p.transport) == transport);
        gauge!(name::RTC_CONNECTIONS, "transport" => word).set(count.count() as f64);
    }
    let slots = survey.iter().flat_map(|(_, stats)| &stats.slots);
    let paused = slots.filter(|slot| slot.is_paused).count();
    gauge!(name::RTC_PAUSED).set(paused as f64);
}

/// What one connection has counted so far, of each track.
#[derive(Clone, Default)]
struct Counted {
    received: Vec<Totals>,
    sent: Vec<Totals>,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    packets: u64,
    bytes: u64,
    lost: u64,
    resent: u64,
    nacks: u64,
    key_frames: u64,
}

fn sample(
    survey: Vec<(ConnectionId, ConnectionStats)>,
    last: &HashMap<ConnectionId, Counted>,
) -> HashMap<ConnectionId, Counted> {
    let mut all = HashMap::with_capacity(survey.len());
    for (id, stats) in survey {
        if let Some(round_trip) = stats.round_trip {
            histogram!(name::RTC_ROUND_TRIP).record(round_trip);
        }
        for jitter in stats.tracks.iter().map(|track| track.jitter) {
            histogram!(name::RTC_JITTER, DIRECTION => RECEIVED).record(jitter);
        }
        for slot in stats.slots.iter().filter(|slot| slot.packets > 0) {
            histogram!(name::RTC_JITTER, DIRECTION => SENT).record(slot.jitter);
        }
        let received = stats.tracks.iter().map(|track| Totals {
            packets: track.packets,
            bytes: track.bytes,
            lost: track.lost,
            resent: 0,
            nacks: track.nacks_sent,
            key_frames: track.plis_sent,
        });
        let sent = stats.slots.iter().map(|slot| Totals {
            packets: slot.packets,
            bytes: slot.bytes,
            lost: u64::from(slot.lost),
            resent: slot.resent,
            nacks: slot.nacks,
            key_frames: slot.key_frames_wanted,
        });
        let now = Counted {
            received: received.collect(),
            sent: sent.collect(),
        };
        let nothing = Counted::default();
        let before = last.get(&id).unwrap_or(&nothing);
        add(RECEIVED, &now.received, &before.received);
        add(SENT, &now.sent, &before.sent);
        all.insert(id, now);
    }
    all
}

fn add(direction: &'static str, now: &[Totals], before: &[Totals]) {
    for (at, now) in now.iter().enumerate() {
        let before = before.get(at).copied().unwrap_or_default();
        let grown = |of: fn(&Totals) -> u64| of(now).saturating_sub(of(&before));
        let (packets, lost) = (grown(|t| t.packets), grown(|t| t.lost));
        counter!(name::RTC_PACKETS, DIRECTION => direction).increment(packets);
        counter!(name::RTC_BYTES, DIRECTION => direction).increment(grown(|t| t.bytes));
        counter!(name::RTC_NACKS, DIRECTION => direction).increment(grown(|t| t.nacks));
        counter!(name::RTC_KEY_FRAMES_WANTED, DIRECTION => direction)
            .increment(grown(|t| t.key_frames));
        counter!(name::RTC_RESENT).increment(grown(|t| t.resent));
        if packets > 0 {
            let ratio = lost as f64 / (packets + lost) as f64;
            histogram!(name::RTC_LOSS, DIRECTION => direction).record(ratio);
        }
    }
}
