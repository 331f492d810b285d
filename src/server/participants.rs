//! Participants as the API shows them, from what the room and the transport know.

use super::failures::Failed;
use super::open_room::Present;
use crate::control::participants::{
    ConnectionView, FailureView, ParticipantDetail, ReceivedView, SentView,
};
use crate::control::views::{ParticipantView, TrackView};
use crate::room::{Participant, Presence};
use crate::rtc::core::connection::ConnectionStats;
use crate::rtc::core::receive::stats::TrackStats;
use crate::rtc::core::send::track::SlotStats;
use crate::rtc::core::verdict::describe;
use crate::rtc::{ConnectionId, Rtc};

/// `None` for one who is not here, and whose connection has not failed lately.
pub async fn detail(
    present: Option<Present>,
    failed: Option<Failed>,
    rtc: &Rtc,
) -> Option<ParticipantDetail> {
    let mut connections = Vec::new();
    let participant = match (present, &failed) {
        (Some(present), _) => {
            for (purpose, id) in [
                ("publish", present.publishes_by),
                ("subscribe", present.attends_by),
            ] {
                connections.extend(connection(purpose, id, rtc).await);
            }
            view(&present.participant, present.on_stage)
        }
        (None, Some(failed)) => gone(failed),
        (None, None) => return None,
    };
    Some(ParticipantDetail {
        participant,
        connections,
        last_failure: failed.map(failure),
    })
}

pub fn view(participant: &Participant, on_stage: bool) -> ParticipantView {
    ParticipantView {
        id: participant.id,
        identity: participant.identity.clone(),
        name: participant.name.clone(),
        role: participant.role,
        presence: match participant.presence {
            Presence::Attending => "attending",
            Presence::Joining(_) => "joining",
            Presence::Connected(_) => "connected",
            Presence::Away { .. } => "away",
        },
        on_stage,
        muted: participant.muted.iter().copied().collect(),
        tracks: participant
            .tracks
            .values()
            .map(|track| TrackView {
                kind: track.kind,
                codec: track.codec,
                muted: track.muted,
                withheld: participant.is_withheld(track.source),
                kept_out: track.kept_out,
            })
            .collect(),
    }
}

fn gone(failed: &Failed) -> ParticipantView {
    ParticipantView {
        id: failed.participant,
        identity: None,
        name: failed.name.clone(),
        role: failed.role,
        presence: "left",
        on_stage: false,
        muted: Vec::new(),
        tracks: Vec::new(),
    }
}

async fn connection(
    purpose: &'static str,
    id: Option<ConnectionId>,
    rtc: &Rtc,
) -> Option<ConnectionView> {
    let stats: ConnectionStats = rtc.stats(id?).await?;
    Some(ConnectionView {
        purpose,
        transport: stats.path.map(|path| path.transport.name()),
        remote_address: stats.path.map(|path| path.remote.to_string()),
        round_trip_ms: stats.round_trip.map(|rtt| rtt.as_secs_f64() * 1e3),
        estimate_bps: stats.estimate_bps,
        received: stats.tracks.iter().map(received).collect(),
        sent: stats.slots.into_iter().map(sent).collect(),
    })
}

fn received(track: &TrackStats) -> ReceivedView {
    ReceivedView {
        codec: track.codec,
        bitrate_bps: track.bits_per_second,
        packets: track.packets,
        bytes: track.bytes,
        lost: track.lost,
        recovered: track.recovered,
        jitter_ms: track.jitter.as_secs_f64() * 1e3,
        nacks_sent: track.nacks_sent,
        plis_sent: track.plis_sent,
        stalled: track.stalled,
    }
}

fn sent(slot: SlotStats) -> SentView {
    SentView {
        kind: slot.codec.map(|codec| codec.kind()),
        codec: slot.codec,
        mid: slot.mid,
        layer: slot.layer,
        temporal_layer: slot.temporal_layer,
        paused: slot.is_paused,
        packets: slot.packets,
        bytes: slot.bytes,
        resent: slot.resent,
        nacks_received: slot.nacks,
        key_frames_wanted: slot.key_frames_wanted,
        layer_switches: slot.layer_switches,
        fraction_lost: f64::from(slot.fraction_lost) / 256.0,
        lost: slot.lost,
        jitter_ms: slot.jitter.as_secs_f64() * 1e3,
    }
}

fn failure(failed: Failed) -> FailureView {
    let Failed { at, verdict, .. } = failed;
    let (failure, seen) = (verdict.failure, verdict.seen);
    FailureView {
        at,
        failure: failure.name(),
        reason: failure.reason(),
        remedy: failure.remedy(),
        local_candidates: seen
            .local_candidates
            .iter()
            .map(|at| at.to_string())
            .collect(),
        remote_candidates: seen.remote_candidates,
        checks_received: seen.checks_received,
        checks_refused: seen.checks_refused,
        answers_sent: seen.answers_sent,
        paths: seen.paths.into_iter().map(describe).collect(),
        selected: seen.selected.map(describe),
        handshake_datagrams: seen.handshake_datagrams,
    }
}
