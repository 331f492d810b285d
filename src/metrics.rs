//! Every metric, once: its name, its unit, its meaning.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

pub const ROOMS: &str = "amphi_rooms";
pub const BROADCASTS: &str = "amphi_broadcasts";
pub const PARTICIPANTS: &str = "amphi_participants";
pub const RTP_PACKETS: &str = "amphi_rtp_packets_total";
pub const PROGRAM_RESTARTS: &str = "amphi_program_restarts_total";
pub const PARTS: &str = "amphi_parts_total";
pub const PART_DELAY: &str = "amphi_part_delay_seconds";
pub const SEGMENTS_RECORDED: &str = "amphi_segments_recorded_total";
pub const SEGMENTS_LOST: &str = "amphi_segments_lost_total";
pub const RECORDING_WAITING_BYTES: &str = "amphi_recording_waiting_bytes";

/// The delays that a part can have, in seconds.
const PART_DELAY_BUCKETS: &[f64] = &[0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0, 5.0];

/// Installs the recorder of this process; call it once.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(
            metrics_exporter_prometheus::Matcher::Full(PART_DELAY.to_owned()),
            PART_DELAY_BUCKETS,
        )?
        .install_recorder()?;
    describe_gauge!(ROOMS, Unit::Count, "Rooms that exist");
    describe_gauge!(BROADCASTS, Unit::Count, "Broadcasts that run");
    describe_gauge!(PARTICIPANTS, Unit::Count, "Participants in all rooms");
    describe_counter!(
        RTP_PACKETS,
        Unit::Count,
        "Media packets received from publishers"
    );
    describe_counter!(
        PROGRAM_RESTARTS,
        Unit::Count,
        "Pipeline children that were replaced"
    );
    describe_counter!(PARTS, Unit::Count, "Parts that were made, by rendition");
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
