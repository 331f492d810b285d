//! Players of a low-latency HLS stream (draft-ietf-rfc8216bis), as many as hls.js pages: each waits
//! for every playlist of its rendition and of its sound, and fetches every part.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use reqwest::{Client, Url};

/// What one player saw of the stream.
#[derive(Debug, Default)]
pub struct Seen {
    pub first_part: Option<Instant>,
    pub playlists: u64,
    pub parts: u64,
    pub bytes: u64,
    /// Parts that were gone from the playlist, or not answered, when it came to them.
    pub missed: u64,
    /// From the end of each part, by the playlist's clock, to its arrival.
    pub latencies: Vec<Duration>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        let firsts = [self.first_part, other.first_part];
        self.first_part = firsts.into_iter().flatten().min();
        self.playlists += other.playlists;
        self.parts += other.parts;
        self.bytes += other.bytes;
        self.missed += other.missed;
        self.latencies.extend(other.latencies);
    }
}

/// A part and its place: the segment's media sequence number, and its own in there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    place: (u64, u64),
    uri: String,
    ends_at: Option<DateTime<Utc>>,
}

/// What a player needs of a media playlist.
#[derive(Debug, Default, PartialEq, Eq)]
struct Playlist {
    parts: Vec<Part>,
    /// Where the next part will be.
    next: (u64, u64),
    has_ended: bool,
}

/// Plays `url`, a multivariant playlist, in its best rendition.
///
/// # Errors
///
/// When it cannot be played at all.
pub async fn play(http: Client, url: Url, until: Instant) -> anyhow::Result<Seen> {
    let text = get(&http, url.clone()).await?;
    let streams = streams(&text);
    ensure!(!streams.is_empty(), "{url} names no renditions");
    let streams = streams.iter().map(|uri| url.join(uri));
    let streams: Vec<Url> = streams.collect::<Result<_, _>>().context("a URI")?;
    let playing = streams.into_iter().map(|url| follow(&http, url, until));
    let mut all = Seen::default();
    for seen in futures::future::try_join_all(playing).await? {
        all.add(seen);
    }
    Ok(all)
}

/// The rendition of the most bits, and the first sound beside it.
fn streams(multivariant: &str) -> Vec<String> {
    let mut best: Option<(u64, &str)> = None;
    let mut lines = multivariant.lines();
    while let Some(line) = lines.next() {
        if let Some(attributes) = line.strip_prefix("#EXT-X-STREAM-INF:")
            && let Some(uri) = lines.next()
        {
            let bandwidth = attribute(attributes, "BANDWIDTH");
            let bandwidth = bandwidth.and_then(|b| b.parse().ok()).unwrap_or(0);
            if best.is_none_or(|(most, _)| bandwidth > most) {
                best = Some((bandwidth, uri));
            }
        }
    }
    let sound = multivariant
        .lines()
        .filter_map(|line| line.strip_prefix("#EXT-X-MEDIA:"))
        .filter(|attributes| attribute(attributes, "TYPE") == Some("AUDIO"))
        .find_map(|attributes| attribute(attributes, "URI"));
    let best = best.map(|(_, uri)| uri);
    best.into_iter().chain(sound).map(str::to_owned).collect()
}

/// One media playlist, until `until` or its end.
async fn follow(http: &Client, url: Url, until: Instant) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let mut done: Option<(u64, u64)> = None;
    let mut ask = url.clone();
    while Instant::now() < until {
        let text = get(http, ask).await?;
        seen.playlists += 1;
        let playlist = parse(&text);
        // It begins with the newest part, as who comes now does.
        let newest = playlist.parts.last().map(|part| part.place);
        let before = done;
        let is_new = |part: &&Part| match before {
            Some(done) => part.place > done,
            None => Some(part.place) == newest,
        };
        for part in playlist.parts.iter().filter(is_new) {
            seen.missed += done.map_or(0, |done| gap(done, part.place));
            done = Some(part.place);
            match get_bytes(http, url.join(&part.uri)?).await {
                Ok(len) => seen.took(part, len),
                Err(_) => seen.missed += 1,
            }
        }
        if playlist.has_ended {
            break;
        }
        ask = url.clone();
        let (msn, part) = playlist.next;
        ask.query_pairs_mut()
            .append_pair("_HLS_msn", &msn.to_string())
            .append_pair("_HLS_part", &part.to_string());
    }
    Ok(seen)
}

/// Parts between, of the same segment; how many the one before had is not known any more.
fn gap(done: (u64, u64), next: (u64, u64)) -> u64 {
    match next.0 - done.0 {
        0 => next.1 - done.1 - 1,
        segments => segments - 1 + next.1,
    }
}

impl Seen {
    fn took(&mut self, part: &Part, len: u64) {
        self.first_part.get_or_insert_with(Instant::now);
        self.parts += 1;
        self.bytes += len;
        let now = DateTime::<Utc>::from(SystemTime::now());
        let behind = part.ends_at.and_then(|ends| (now - ends).to_std().ok());
        self.latencies.extend(behind);
    }
}

fn parse(text: &str) -> Playlist {
    let mut playlist = Playlist::default();
    let (mut msn, mut part, mut clock) = (0, 0, None::<DateTime<Utc>>);
    // Parts stand before the segment that they make, whose duration counts only where none do.
    for line in text.lines() {
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXT-X-MEDIA-SEQUENCE" => msn = value.parse().unwrap_or(0),
            "#EXT-X-PROGRAM-DATE-TIME" => {
                clock = value.parse::<DateTime<Utc>>().ok();
            }
            "#EXT-X-PART" => {
                let seconds = attribute(value, "DURATION").and_then(|d| d.parse().ok());
                let lasts = Duration::try_from_secs_f64(seconds.unwrap_or(0.0));
                clock = clock.map(|clock| clock + lasts.unwrap_or_default());
                if let Some(uri) = attribute(value, "URI") {
                    playlist.parts.push(Part {
                        place: (msn, part),
                        uri: uri.to_owned(),
                        ends_at: clock,
                    });
                }
                part += 1;
            }
            "#EXT-X-ENDLIST" => playlist.has_ended = true,
            _ if !line.is_empty() && !line.starts_with('#') => {
                (msn, part) = (msn + 1, 0);
            }
            _ => {}
        }
    }
    playlist.next = (msn, part);
    playlist
}

/// Of an attribute list (RFC 8216 §4.2), without quotes.
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = list;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, next) = quoted.split_once('"')?;
                (value, next.trim_start_matches(','))
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key == name {
            return Some(value);
        }
        rest = next;
    }
    None
}

async fn get(http: &Client, url: Url) -> anyhow::Result<String> {
    let response = http.get(url.clone()).send().await?;
    let status = response.status();
    let text = response.text().await?;
    ensure!(status.is_success(), "{url}: {status}: {}", text.trim());
    Ok(text)
}

async fn get_bytes(http: &Client, url: Url) -> anyhow::Result<u64> {
    let response = http.get(url).send().await?.error_for_status()?;
    Ok(response.bytes().await?.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbered_and_dated() {
        let playlist = parse(
            "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:2.0,\n7.m4s\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00.000Z\n\
             #EXT-X-PART:DURATION=0.200,INDEPENDENT=YES,URI=\"8.0.m4s\"\n\
             #EXT-X-PART:DURATION=0.2,URI=\"8.1.m4s\"\n#EXTINF:0.4,\n8.m4s\n\
             #EXT-X-PART:DURATION=0.2,URI=\"9.0.m4s\"\n\
             #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"9.1.m4s\"\n",
        );
        let places: Vec<_> = playlist.parts.iter().map(|part| part.place).collect();
        assert_eq!(places, [(8, 0), (8, 1), (9, 0)]);
        assert_eq!(playlist.next, (9, 1));
        assert_eq!(playlist.parts[2].uri, "9.0.m4s");
        let ends = playlist.parts[2].ends_at.expect("a date");
        assert_eq!(ends.timestamp_subsec_millis(), 600);
        assert!(!playlist.has_ended);
    }

    #[test]
    fn the_best_rendition_is_played_with_its_sound() {
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a,b\",URI=\"audio/index.m3u8\"\n\
                    #EXT-X-STREAM-INF:CODECS=\"avc1,mp4a\",BANDWIDTH=100\nlow/index.m3u8\n\
                    #EXT-X-STREAM-INF:BANDWIDTH=900,CODECS=\"avc1\"\nhigh/index.m3u8\n";
        assert_eq!(streams(text), ["high/index.m3u8", "audio/index.m3u8"]);
    }

    #[test]
    fn what_was_missed_is_counted() {
        assert_eq!(gap((8, 1), (8, 2)), 0);
        assert_eq!(gap((8, 1), (8, 4)), 2);
        assert_eq!(gap((8, 9), (9, 0)), 0);
        assert_eq!(gap((8, 9), (10, 1)), 2);
    }
}
