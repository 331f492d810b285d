//! Every metric, once: its name, its unit, its meaning.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

pub const ROOMS: &str = "amphi_rooms";
pub const BROADCASTS: &str = "amphi_broadcasts";
pub const PARTICIPANTS: &str = "amphi_participants";
pub const RTC_CONNECTIONS: &str = "amphi_rtc_connections";
pub const RTC_ROUND_TRIP: &str = "amphi_rtc_round_trip_seconds";
pub const RTC_JITTER: &str = "amphi_rtc_jitter_seconds";
pub const RTC_LOSS: &str = "amphi_rtc_loss_ratio";
pub const RTC_BYTES: &str = "amphi_rtc_bytes_total";
pub const RTC_PACKETS: &str = "amphi_rtc_packets_total";
pub const RTC_RESENT: &str = "amphi_rtc_resent_total";
pub const RTC_NACKS: &str = "amphi_rtc_nacks_total";
pub const RTC_KEY_FRAMES_WANTED: &str = "amphi_rtc_key_frames_wanted_total";
pub const RTC_PAUSED: &str = "amphi_rtc_paused_tracks";
pub const RTC_FAILURES: &str = "amphi_rtc_failures_total";
pub const PROGRAM_RESTARTS: &str = "amphi_program_restarts_total";
pub const INPUTS_KEPT_OUT: &str = "amphi_program_inputs_kept_out_total";
pub const PROGRAM_CORES: &str = "amphi_program_cores";
pub const FRAMES: &str = "amphi_program_frames_total";
pub const FRAMES_DROPPED: &str = "amphi_program_frames_dropped_total";
pub const PACKETS_LATE: &str = "amphi_program_packets_late_total";
pub const LIP_SYNC: &str = "amphi_program_lip_sync_seconds";
pub const SHED: &str = "amphi_program_shed_broadcasts";
pub const PARTS: &str = "amphi_parts_total";
pub const STAGE_DELAY: &str = "amphi_program_stage_delay_seconds";
pub const PART_DELAY: &str = "amphi_part_delay_seconds";
pub const SEGMENTS_RECORDED: &str = "amphi_segments_recorded_total";
pub const SEGMENTS_LOST: &str = "amphi_segments_lost_total";
pub const RECORDING_WAITING_BYTES: &str = "amphi_recording_waiting_bytes";
pub const WEBHOOK_ATTEMPTS: &str = "amphi_webhook_attempts_total";

/// The delays that a picture can have in the graph, in seconds.
const STAGE_DELAY_BUCKETS: &[f64] = &[0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0];
/// The delays that a part can have, in seconds.
const PART_DELAY_BUCKETS: &[f64] = &[0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0, 5.0];

/// Round trips and jitter, in seconds.
const PATH_BUCKETS: &[f64] = &[0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

/// Shares of packets.
const LOSS_BUCKETS: &[f64] = &[0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];

/// Installs the recorder of this process; call it once.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for (metric, buckets) in [
        (STAGE_DELAY, STAGE_DELAY_BUCKETS),
        (LIP_SYNC, STAGE_DELAY_BUCKETS),
        (PART_DELAY, PART_DELAY_BUCKETS),
        (RTC_ROUND_TRIP, PATH_BUCKETS),
        (RTC_JITTER, PATH_BUCKETS),
        (RTC_LOSS, LOSS_BUCKETS),
    ] {
        builder = builder.set_buckets_for_metric(Matcher::Full(metric.to_owned()), buckets)?;
    }
    let handle = builder.install_recorder()?;
    describe_gauge!(ROOMS, Unit::Count, "Rooms that exist");
    describe_gauge!(BROADCASTS, Unit::Count, "Broadcasts that run");
    describe_gauge!(PARTICIPANTS, Unit::Count, "Participants in all rooms");
    describe_gauge!(
        RTC_CONNECTIONS,
        Unit::Count,
        "WebRTC connections, by transport: udp, tcp, relay, or none yet"
    );
    describe_histogram!(
        RTC_ROUND_TRIP,
        Unit::Seconds,
        "Round trips of all connections, sampled"
    );
    describe_histogram!(
        RTC_JITTER,
        Unit::Seconds,
        "Jitter of each track, sampled, by direction"
    );
    describe_histogram!(
        RTC_LOSS,
        "Share of a track's packets lost between two samples, before they were sent again, by direction"
    );
    describe_counter!(
        WEBHOOK_ATTEMPTS,
        Unit::Count,
        "Events sent to webhooks, by `outcome`: taken, refused, or given_up after a day"
    );
    describe_counter!(RTC_BYTES, Unit::Bytes, "RTP carried, by direction");
    describe_counter!(RTC_PACKETS, Unit::Count, "RTP packets, by direction");
    describe_counter!(RTC_RESENT, Unit::Count, "RTP packets sent again");
    describe_counter!(
        RTC_NACKS,
        Unit::Count,
        "Packets asked for again, by direction of the media"
    );
    describe_counter!(
        RTC_KEY_FRAMES_WANTED,
        Unit::Count,
        "Key frames asked for, by direction of the media"
    );
    describe_gauge!(
        RTC_PAUSED,
        Unit::Count,
        "Tracks that do not fit their subscriber's path now"
    );
    describe_counter!(
        RTC_FAILURES,
        Unit::Count,
        "Connections that failed, by kind"
    );
    describe_counter!(
        PROGRAM_RESTARTS,
        Unit::Count,
        "Pipeline children that were replaced"
    );
    describe_counter!(
        INPUTS_KEPT_OUT,
        Unit::Count,
        "Tracks that crashed the program twice, and are no longer part of it"
    );
    describe_gauge!(
        PROGRAM_CORES,
        Unit::Count,
        "Cores that the processes of all broadcasts use now, as last measured"
    );
    describe_counter!(
        FRAMES,
        Unit::Count,
        "Frames that came to the encoders of the largest renditions"
    );
    describe_counter!(
        FRAMES_DROPPED,
        Unit::Count,
        "Frames that an encoder had no time for, of all renditions"
    );
    describe_counter!(
        PACKETS_LATE,
        Unit::Count,
        "Publishers' packets that came too late to be seen or heard in the program"
    );
    describe_histogram!(
        LIP_SYNC,
        Unit::Seconds,
        "By how much sound or picture is shown later to stay with the other, at each sender report"
    );
    describe_gauge!(
        SHED,
        Unit::Count,
        "Broadcasts whose largest rendition shows the next smaller one, for the machine is too busy"
    );
    describe_counter!(PARTS, Unit::Count, "Parts that were made, by rendition");
    describe_histogram!(
        STAGE_DELAY,
        Unit::Seconds,
        "From a picture's time, when its packets came or its frame was due, until it is decoded, mixed and encoded"
    );
    describe_histogram!(
        PART_DELAY,
        Unit::Seconds,
        "From the end of a part's time to the moment it can be fetched"
    );
    describe_counter!(
        SEGMENTS_RECORDED,
        Unit::Count,
        "Segments handed to the recording"
    );
    describe_counter!(
        SEGMENTS_LOST,
        Unit::Count,
        "Segments that neither storage nor spool took: page somebody when this grows"
    );
    describe_gauge!(
        RECORDING_WAITING_BYTES,
        Unit::Bytes,
        "Recorded, and not in the storage yet"
    );
    Ok(handle)
}
