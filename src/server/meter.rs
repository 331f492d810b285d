//! Samples the connections into metrics: how well the paths to all participants are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::rooms::Rooms;
use crate::control::events::{Happened, News, Trouble};
use crate::metrics as name;
use crate::rtc::core::connection::ConnectionStats;
use crate::rtc::core::ice::Transport;
use crate::rtc::core::quality::{self, Measured, Quality};
use crate::rtc::core::receive::stats::TrackStats;
use crate::rtc::{ConnectionId, Rtc};

const EVERY: Duration = Duration::from_secs(5);

/// Of a track, to say how many of them are lost.
const MIN_PACKETS: u64 = 50;

const DIRECTION: &str = "direction";
const RECEIVED: &str = "received";
const SENT: &str = "sent";

/// Samples for ever, and warns of who publishes badly.
pub async fn keep(rtc: Rtc, rooms: Arc<Rooms>, news: Arc<News>) {
    let mut last = HashMap::new();
    let mut qualities = HashMap::new();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let survey = rtc.survey().await;
        count(&survey);
        warn(&survey, &last, &mut qualities, &rooms, &news);
        last = sample(survey, &last);
    }
}

fn warn(
    survey: &[(ConnectionId, ConnectionStats)],
    last: &HashMap<ConnectionId, Counted>,
    qualities: &mut HashMap<ConnectionId, Quality>,
    rooms: &Rooms,
    news: &News,
) {
    let survey: HashMap<_, _> = survey.iter().map(|(id, stats)| (*id, stats)).collect();
    qualities.retain(|id, _| survey.contains_key(id));
    for room in rooms.all() {
        for (participant, id) in room.publishers() {
            // What was counted before tells what is new.
            let (Some(now), Some(before)) = (survey.get(&id), last.get(&id)) else {
                continue;
            };
            let measured = Measured {
                loss: loss(now, before),
                round_trip: now.round_trip,
            };
            if let Some(trouble) = qualities.entry(id).or_default().see(&measured) {
                let trouble = trouble.map(|trouble| match trouble {
                    quality::Trouble::Loss => Trouble::Loss,
                    quality::Trouble::Delay => Trouble::Delay,
                });
                let changed = Happened::ParticipantQuality {
                    participant,
                    trouble,
                };
                news.tell(room.id(), changed);
            }
        }
    }
}

/// Of the track that lost most, since: what no retransmission brought.
fn loss(now: &ConnectionStats, before: &Counted) -> f64 {
    let lost = |(at, track): (usize, &TrackStats)| {
        let before = before.received.get(at).copied().unwrap_or_default();
        let packets = track.packets.saturating_sub(before.packets);
        let gone = track.lost.saturating_sub(before.lost);
        let back = track.recovered.saturating_sub(before.recovered);
        let gone = gone.saturating_sub(back);
        match packets + gone {
            // A handful says nothing.
            0..MIN_PACKETS => 0.0,
            all => gone as f64 / all as f64,
        }
    };
    let tracks = now.tracks.iter().enumerate();
    tracks.map(lost).fold(0.0, f64::max)
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
    recovered: u64,
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
            recovered: track.recovered,
            resent: 0,
            nacks: track.nacks_sent,
            key_frames: track.plis_sent,
        });
        let sent = stats.slots.iter().map(|slot| Totals {
            packets: slot.packets,
            bytes: slot.bytes,
            lost: u64::from(slot.lost),
            recovered: 0,
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
