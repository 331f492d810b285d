//! The multivariant playlist: what there is to choose from (8216bis §4.4.6).

use m3u8_rs::{AlternativeMedia, AlternativeMediaType, MasterPlaylist, Resolution, VariantStream};

use super::codecs::codec_string;
use super::rendition::RenditionKind;
use super::track::Track;

/// The group that every variant takes its sound from.
const AUDIO_GROUP: &str = "audio";

/// The playlist; the renditions' own are below `base`, which ends with a slash or is empty.
/// None before every rendition has something to play.
pub fn write(tracks: &[Track], base: &str) -> Option<Vec<u8>> {
    if tracks.is_empty() || !tracks.iter().all(Track::has_media) {
        return None;
    }
    let (audio, video): (Vec<&Track>, Vec<&Track>) =
        tracks.iter().partition(|track| track.rendition.is_audio());
    let uri = |track: &Track| format!("{base}{}/index.m3u8", track.rendition.name);
    let group = (!audio.is_empty() && !video.is_empty()).then(|| AUDIO_GROUP.to_owned());
    let alternatives = match &group {
        None => Vec::new(),
        Some(group_id) => (audio.iter().enumerate())
            .map(|(index, track)| AlternativeMedia {
                media_type: AlternativeMediaType::Audio,
                uri: Some(uri(track)),
                group_id: group_id.clone(),
                name: track.rendition.name.to_string(),
                default: index == 0,
                autoselect: index == 0,
                channels: Some("2".to_owned()),
                ..AlternativeMedia::default()
            })
            .collect(),
    };
    let sound = audio.first().copied();
    let mut variants: Vec<VariantStream> = (video.iter())
        .map(|track| variant(uri(track), track, sound, group.clone()))
        .collect();
    // For who listens only, or has a very thin line.
    variants.extend(sound.map(|track| variant(uri(track), track, None, group.clone())));
    let playlist = MasterPlaylist {
        version: Some(9),
        variants,
        independent_segments: true,
        alternatives,
        ..MasterPlaylist::default()
    };
    let mut text = Vec::new();
    playlist.write_to(&mut text).ok()?;
    Some(text)
}

fn variant(
    uri: String,
    track: &Track,
    sound: Option<&Track>,
    audio: Option<String>,
) -> VariantStream {
    let members = || [Some(track), sound].into_iter().flatten();
    let codecs: Vec<String> = members()
        .filter_map(|member| codec_string(member.latest_init()?.1))
        .collect();
    let (resolution, frame_rate) = match track.rendition.kind {
        RenditionKind::Audio => (None, None),
        RenditionKind::Video {
            width_px,
            height_px,
            fps,
        } => (
            Some(Resolution {
                width: width_px.into(),
                height: height_px.into(),
            }),
            Some((fps * 1000.0).round() / 1000.0),
        ),
    };
    let (peak, average) = members()
        .map(bandwidth)
        .fold((0, 0), |(p, a), (peak, average)| (p + peak, a + average));
    VariantStream {
        uri,
        bandwidth: peak,
        average_bandwidth: Some(average),
        codecs: (!codecs.is_empty()).then(|| codecs.join(",")),
        resolution,
        frame_rate,
        audio,
        ..VariantStream::default()
    }
}

fn bandwidth(track: &Track) -> (u64, u64) {
    let declared = track.rendition.declared_bitrate_bps;
    track.measured_bps().unwrap_or((declared, declared))
}

#[cfg(test)]
mod tests;
