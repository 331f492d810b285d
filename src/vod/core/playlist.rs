//! VOD playlists of a recording (RFC 8216), written from its manifest.

use std::fmt::Write;

use chrono::SecondsFormat;

use super::manifest::{Manifest, RecordedRendition, RenditionKind, State};

/// The multivariant playlist: each video rendition with the audio as a group of its own.
pub fn multivariant(manifest: &Manifest) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    let with_segments = || {
        manifest
            .renditions
            .iter()
            .filter(|r| !r.segments.is_empty())
    };
    let audio = with_segments().find(|r| r.info.kind == RenditionKind::Audio);
    if let Some(audio) = audio {
        line(
            &mut text,
            format_args!(
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Program\",DEFAULT=YES,AUTOSELECT=YES,URI=\"{}/index.m3u8\"",
                audio.info.name
            ),
        );
    }
    let audio_rate = audio.map(bandwidth).unwrap_or_default();
    for video in with_segments() {
        let RenditionKind::Video {
            width_px,
            height_px,
            fps,
        } = video.info.kind
        else {
            continue;
        };
        let (peak, average) = bandwidth(video);
        let codecs: Vec<&str> = [Some(video), audio]
            .into_iter()
            .flatten()
            .filter_map(|rendition| rendition.codecs.as_deref())
            .collect();
        let mut attributes = format!(
            "BANDWIDTH={},AVERAGE-BANDWIDTH={},RESOLUTION={width_px}x{height_px},FRAME-RATE={fps:.3}",
            peak + audio_rate.0,
            average + audio_rate.1
        );
        if !codecs.is_empty() {
            let _ = write!(attributes, ",CODECS=\"{}\"", codecs.join(","));
        }
        if audio.is_some() {
            attributes += ",AUDIO=\"audio\"";
        }
        line(&mut text, format_args!("#EXT-X-STREAM-INF:{attributes}"));
        line(&mut text, format_args!("{}/index.m3u8", video.info.name));
    }
    text
}

/// One rendition's playlist. While the recording goes on it is an EVENT that will grow.
pub fn media(manifest: &Manifest, rendition: &RecordedRendition) -> String {
    let longest_us = rendition
        .segments
        .iter()
        .map(|s| s.duration_us)
        .max()
        .unwrap_or(0);
    // RFC 8216 §4.3.3.1: durations, rounded to the nearest integer, are at most this.
    let target = ((longest_us + 500_000) / 1_000_000).max(1);
    let complete = manifest.state == State::Complete;
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-PLAYLIST-TYPE:{}\n\
         #EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-INDEPENDENT-SEGMENTS\n",
        if complete { "VOD" } else { "EVENT" },
        rendition.segments.first().map_or(0, |s| s.msn),
    );
    let mut init = None;
    let mut next = None;
    for segment in &rendition.segments {
        let gap = next.is_some_and(|msn| msn != segment.msn);
        if init.is_some() && (segment.discontinuity || gap || init != Some(segment.init)) {
            line(&mut text, format_args!("#EXT-X-DISCONTINUITY"));
        }
        if init != Some(segment.init) {
            line(
                &mut text,
                format_args!("#EXT-X-MAP:URI=\"init-{}.mp4\"", segment.init),
            );
        }
        let time = segment
            .program_date_time
            .to_rfc3339_opts(SecondsFormat::Millis, true);
        line(&mut text, format_args!("#EXT-X-PROGRAM-DATE-TIME:{time}"));
        let (whole, micros) = (
            segment.duration_us / 1_000_000,
            segment.duration_us % 1_000_000,
        );
        line(
            &mut text,
            format_args!("#EXTINF:{whole}.{micros:06},\n{}.m4s", segment.msn),
        );
        init = Some(segment.init);
        next = Some(segment.msn + 1);
    }
    if complete {
        text += "#EXT-X-ENDLIST\n";
    }
    text
}

/// Peak and average, in bits a second, measured.
fn bandwidth(rendition: &RecordedRendition) -> (u64, u64) {
    let rate = |bytes: u64, us: u64| (bytes * 8 * 1_000_000).checked_div(us).unwrap_or(0);
    let peak = rendition
        .segments
        .iter()
        .map(|s| rate(s.bytes, s.duration_us))
        .max();
    let bytes = rendition.segments.iter().map(|s| s.bytes).sum();
    let us = rendition.segments.iter().map(|s| s.duration_us).sum();
    match peak {
        Some(peak) if peak > 0 => (peak, rate(bytes, us)),
        _ => (
            rendition.info.declared_bitrate_bps,
            rendition.info.declared_bitrate_bps,
        ),
    }
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{what}");
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use uuid::Uuid;

    use super::super::manifest::{RecordedSegment, RecordingInfo, RenditionInfo};
    use super::*;
    use crate::room::BroadcastId;

    fn manifest() -> Manifest {
        let rendition = |name: &str, kind| RenditionInfo {
            name: name.into(),
            kind,
            declared_bitrate_bps: 1,
        };
        let video = RenditionKind::Video {
            width_px: 1280,
            height_px: 720,
            fps: 30.0,
        };
        let mut manifest = Manifest::new(RecordingInfo {
            id: BroadcastId(Uuid::nil()),
            room: "demo".parse().expect("a name"),
            started_at: DateTime::<Utc>::UNIX_EPOCH,
            private: false,
            keep_for: None,
            renditions: vec![
                rendition("720p", video),
                rendition("audio", RenditionKind::Audio),
            ],
        });
        // Out of order, as uploads end; a child was replaced before 2.
        for (name, bytes) in [("720p", 500_000), ("audio", 32_000)] {
            for (msn, init) in [(2, 1), (0, 0), (1, 0)] {
                let segment = RecordedSegment {
                    msn,
                    init,
                    duration_us: 2_000_000,
                    discontinuity: msn == 2,
                    bytes,
                    program_date_time: DateTime::<Utc>::UNIX_EPOCH,
                };
                manifest.add(name, segment);
            }
        }
        manifest.renditions[0].codecs = Some("avc1.4d401f".into());
        manifest.renditions[1].codecs = Some("mp4a.40.2".into());
        manifest.state = State::Complete;
        manifest
    }

    #[test]
    fn a_rendition_lists_its_segments_in_order_with_one_discontinuity() {
        let manifest = manifest();
        let text = media(&manifest, &manifest.renditions[0]);
        let (_, parsed) = m3u8_rs::parse_media_playlist(text.as_bytes()).expect("a playlist");
        let uris: Vec<_> = parsed.segments.iter().map(|s| s.uri.as_str()).collect();
        assert_eq!(uris, ["0.m4s", "1.m4s", "2.m4s"]);
        let breaks: Vec<_> = parsed.segments.iter().map(|s| s.discontinuity).collect();
        assert_eq!(breaks, [false, false, true]);
        assert!(parsed.end_list);
        assert_eq!(text.matches("#EXT-X-MAP").count(), 2);
    }

    #[test]
    fn the_multivariant_adds_the_audio_to_each_video() {
        let text = multivariant(&manifest());
        let (_, parsed) = m3u8_rs::parse_master_playlist(text.as_bytes()).expect("a playlist");
        assert_eq!(parsed.variants.len(), 1);
        assert_eq!(parsed.variants[0].bandwidth, 2_000_000 + 128_000);
        assert_eq!(
            parsed.variants[0].codecs.as_deref(),
            Some("avc1.4d401f,mp4a.40.2")
        );
        assert_eq!(parsed.alternatives.len(), 1);
    }

    #[test]
    fn the_manifest_is_read_as_it_was_written() {
        let manifest = manifest();
        let json = serde_json::to_string(&manifest).expect("written");
        assert_eq!(
            serde_json::from_str::<Manifest>(&json).expect("read"),
            manifest
        );
        assert_eq!(manifest.duration(), std::time::Duration::from_secs(6));
    }
}
