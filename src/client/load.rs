//! `amphi load`: publishers, players and viewers in numbers, from one process, against any server
//! that speaks WHIP (RFC 9725), WHEP (draft-ietf-wish-whep) or low-latency HLS; and attendees of an
//! Amphi room.

mod hls;
pub mod peer;
mod session;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::task::JoinSet;

use self::peer::{Candidate, Counts, Picture};
use self::session::Attendee;
use crate::rtc::core::dtls::Identity;
use crate::rtc::core::sdp::client::Wish;

/// New connections a second: a show begins in a rush, but not in one instant.
const JOIN_EVERY: Duration = Duration::from_millis(10);

/// Answers are waited for this long.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// What is to be played.
const THERE_WITHIN: Duration = Duration::from_secs(3);
const ASK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    #[command(subcommand)]
    command: LoadCommand,
}

#[derive(Debug, clap::Subcommand)]
enum LoadCommand {
    /// Many publishers of a test stream
    Whip {
        /// The WHIP endpoint, as http://localhost:8080/whip/demo
        url: String,
        #[command(flatten)]
        common: Common,
    },
    /// Many players of one participant
    Whep {
        /// The WHEP endpoint, as http://localhost:8080/whep/demo/load
        url: String,
        /// Publish the test stream here first, as http://localhost:8080/whip/demo?name=load: then
        /// latency is measured too
        #[arg(long, value_name = "URL")]
        publish: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Many attendees of a room, who get all that is published there. A token must have no subject:
    /// it would make them one participant
    Session {
        /// The room's sessions, as ws://localhost:8080/rtc/demo
        url: String,
        /// Publish the test stream here first, as http://localhost:8080/whip/demo?name=load: then
        /// latency is measured too
        #[arg(long, value_name = "URL")]
        publish: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Many viewers of a low-latency HLS stream
    Hls {
        /// The multivariant playlist, as http://localhost:8080/live/demo/index.m3u8
        url: reqwest::Url,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Clone, clap::Args)]
struct Common {
    /// How many
    #[arg(long, default_value_t = 10)]
    count: usize,
    /// How long, from the first to the last
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// The test stream's bitrate in kbit/s
    #[arg(long, default_value_t = 1400, value_parser = clap::value_parser!(u32).range(100..=20_000))]
    kbps: u32,
    /// Sent as Authorization: Bearer
    #[arg(long, env = "AMPHI_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

pub fn run(arguments: LoadArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(load(arguments.command))
}

async fn load(command: LoadCommand) -> anyhow::Result<()> {
    let (who, url, first, common) = match command {
        LoadCommand::Whip { url, common } => (Load::Publishers, url, None, common),
        LoadCommand::Whep {
            url,
            publish,
            common,
        } => (Load::Players, url, publish, common),
        LoadCommand::Session {
            url,
            publish,
            common,
        } => (Load::Attendees, websocket(&url)?, publish, common),
        LoadCommand::Hls { url, common } => return watch(url, common).await,
    };
    ensure!(common.count > 0, "--count is 0: nothing to do");
    let crowd = Arc::new(Crowd {
        identity: Arc::new(Identity::generate()?),
        http: reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?,
        token: common.token,
    });
    let picture = Picture::of(common.kbps);
    let until = Instant::now() + common.duration;
    let mut publisher = None;
    if let Some(url) = first {
        let joined = crowd.join(Wish::Publish, &url).await;
        let (peer, _) = joined.with_context(|| format!("publishing at {url}"))?;
        let until = until + Duration::from_secs(1);
        publisher = Some(tokio::spawn(peer.run(Some(picture), until)));
        // Players are told of tracks that run.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let (count, time) = (common.count, humantime::format_duration(common.duration));
    match who {
        Load::Publishers => println!(
            "{count} publishers of {:.1} Mbit/s, for {time}",
            picture.bits_per_second() as f64 / 1e6
        ),
        Load::Players => println!("{count} players, for {time}"),
        Load::Attendees => println!("{count} attendees, for {time}"),
    }
    let mut peers = JoinSet::new();
    for nth in 0..common.count {
        let (crowd, url) = (crowd.clone(), url.clone());
        let begin = Instant::now() + JOIN_EVERY * u32::try_from(nth).unwrap_or(u32::MAX);
        peers.spawn(async move {
            tokio::time::sleep_until(begin.into()).await;
            crowd.take_part(who, nth, &url, picture, until).await
        });
    }
    let (mut all, mut refused) = (Vec::new(), Vec::new());
    while let Some(peer) = peers.join_next().await {
        match peer? {
            Ok(counted) => all.push(counted),
            Err(error) => refused.push(format!("{error:#}")),
        }
    }
    if let Some(publisher) = publisher {
        publisher.await??;
    }
    report(&all, common.count, common.duration, who);
    if let Some(why) = refused.first() {
        bail!("{} were refused: {why}", refused.len());
    }
    Ok(())
}

/// What the many are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    Publishers,
    Players,
    Attendees,
}

/// A session's address, which may be written as that of a page.
fn websocket(url: &str) -> anyhow::Result<String> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    match scheme {
        "http" | "ws" => Ok(format!("ws://{rest}")),
        "https" | "wss" => Ok(format!("wss://{rest}")),
        _ => bail!(
            "{url:?} is no address of a session: write ws://localhost:8080/rtc/demo or its like"
        ),
    }
}

/// Viewers, each as a page of its own.
async fn watch(url: reqwest::Url, common: Common) -> anyhow::Result<()> {
    let Common {
        count, duration, ..
    } = common;
    ensure!(count > 0, "--count is 0: nothing to do");
    let mut http = reqwest::Client::builder().timeout(ANSWER_WITHIN);
    if let Some(token) = &common.token {
        let bearer = format!("Bearer {token}").parse().context("the token")?;
        http = http.default_headers(
            [(reqwest::header::AUTHORIZATION, bearer)]
                .into_iter()
                .collect(),
        );
    }
    let (http, until) = (http.build()?, Instant::now() + duration);
    println!(
        "{count} viewers, for {}",
        humantime::format_duration(duration)
    );
    let mut viewers = JoinSet::new();
    for nth in 0..count {
        let (http, url) = (http.clone(), url.clone());
        let begin = Instant::now() + JOIN_EVERY * u32::try_from(nth).unwrap_or(u32::MAX);
        viewers.spawn(async move {
            tokio::time::sleep_until(begin.into()).await;
            (Instant::now(), hls::play(http, url, until).await)
        });
    }
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    while let Some(viewer) = viewers.join_next().await {
        match viewer? {
            (asked, Ok(seen)) => all.push((asked, seen)),
            (_, Err(error)) => failed.push(format!("{error:#}")),
        }
    }
    report_viewers(&all, count, duration);
    if let Some(why) = failed.first() {
        bail!("{} could not watch to the end: {why}", failed.len());
    }
    Ok(())
}

fn report_viewers(all: &[(Instant, hls::Seen)], count: usize, duration: Duration) {
    let played = all.iter().filter(|(_, seen)| seen.parts > 0).count();
    println!("played              {played} of {count}");
    let waits = all.iter();
    let waits = waits.filter_map(|(asked, seen)| Some(seen.first_part? - *asked));
    let mut waits: Vec<Duration> = waits.collect();
    waits.sort();
    line("time to first part", &waits);
    let total = |of: fn(&hls::Seen) -> u64| all.iter().map(|(_, seen)| of(seen)).sum::<u64>();
    let seconds = duration.as_secs_f64();
    println!(
        "received            {:.0} parts/s, {:.0} playlists/s, {:.1} Mbit/s",
        total(|seen| seen.parts) as f64 / seconds,
        total(|seen| seen.playlists) as f64 / seconds,
        total(|seen| seen.bytes) as f64 * 8.0 / seconds / 1e6
    );
    println!("missed              {} parts", total(|seen| seen.missed));
    let latencies = all.iter().flat_map(|(_, seen)| &seen.latencies);
    let mut latencies: Vec<Duration> = latencies.copied().collect();
    latencies.sort();
    line("behind the encoder", &latencies);
}

/// What all peers share.
struct Crowd {
    identity: Arc<Identity>,
    http: reqwest::Client,
    token: Option<String>,
}

impl Crowd {
    /// One of the many, until `until`: when it asked, and what it counted.
    async fn take_part(
        &self,
        load: Load,
        nth: usize,
        url: &str,
        picture: Picture,
        until: Instant,
    ) -> anyhow::Result<(Instant, Counts)> {
        let (wish, sends) = match load {
            Load::Publishers => (Wish::Publish, Some(picture)),
            Load::Players => (Wish::Play, None),
            Load::Attendees => {
                let attendee = Attendee {
                    name: format!("load {}", nth + 1),
                    token: self.token.clone(),
                    identity: self.identity.clone(),
                };
                let asked = Instant::now();
                return Ok((asked, attendee.attend(url, until).await?));
            }
        };
        let (peer, asked) = self.join(wish, url).await?;
        Ok((asked, peer.run(sends, until).await?))
    }

    /// A peer that the server answered, and when it was asked. Who plays what is not there yet asks
    /// again for a while: a track is there from its first packet on.
    async fn join(&self, wish: Wish, url: &str) -> anyhow::Result<(peer::Peer, Instant)> {
        let give_up = Instant::now() + THERE_WITHIN;
        let (candidate, asked, status, text) = loop {
            let asked = Instant::now();
            let candidate = Candidate::new(wish, self.identity.clone());
            let mut request = self
                .http
                .post(url)
                .header("content-type", "application/sdp")
                .body(candidate.offer().to_owned());
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            let response = request.send().await?;
            let (status, text) = (response.status(), response.text().await?);
            let is_missing = wish == Wish::Play && status.as_u16() == 404;
            if !is_missing || asked > give_up {
                break (candidate, asked, status, text);
            }
            tokio::time::sleep(ASK_EVERY).await;
        };
        ensure!(status.as_u16() == 201, "{status}: {}", text.trim());
        Ok((candidate.answered(&text)?, asked))
    }
}

impl Picture {
    /// 30 frames a second of packets as long as paths carry.
    pub fn of(kbps: u32) -> Self {
        let (fps, payload_len) = (30, 1150);
        let frame = kbps as usize * 1000 / 8 / fps as usize;
        let packets_per_frame = frame.div_ceil(payload_len).max(1);
        Self {
            fps,
            packets_per_frame: packets_per_frame as u32,
            payload_len: (frame / packets_per_frame).max(32),
        }
    }
}

fn report(all: &[(Instant, Counts)], count: usize, duration: Duration, load: Load) {
    let connected = all.iter().filter(|(_, counts)| counts.connected.is_some());
    println!("connected           {} of {count}", connected.count());
    let waits = |at: fn(&Counts) -> Option<Instant>| {
        let mut waits: Vec<Duration> = all
            .iter()
            .filter_map(|(asked, counts)| Some(at(counts)?.saturating_duration_since(*asked)))
            .collect();
        waits.sort();
        waits
    };
    line("time to connect", &waits(|counts| counts.connected));
    if load == Load::Publishers {
        return;
    }
    line("time to first frame", &waits(|counts| counts.first_frame));
    let seconds = duration.as_secs_f64();
    let packets: u64 = all.iter().map(|(_, counts)| counts.packets).sum();
    let bytes: u64 = all.iter().map(|(_, counts)| counts.bytes).sum();
    let lost: u64 = all.iter().map(|(_, counts)| counts.lost).sum();
    println!(
        "received            {:.0} packets/s, {:.1} Mbit/s",
        packets as f64 / seconds,
        bytes as f64 * 8.0 / seconds / 1e6
    );
    let share = lost as f64 / (packets + lost).max(1) as f64;
    println!("lost                {lost} ({:.2} %)", share * 100.0);
    let latencies = all.iter().flat_map(|(_, counts)| &counts.latencies);
    let mut latencies: Vec<Duration> = latencies.copied().collect();
    latencies.sort();
    line("latency", &latencies);
}

fn line(what: &str, sorted: &[Duration]) {
    if sorted.is_empty() {
        return;
    }
    let at = |percent: usize| {
        let index = (sorted.len() * percent / 100).min(sorted.len() - 1);
        sorted[index].as_secs_f64() * 1000.0
    };
    println!(
        "{what:<20}p50 {:.1}, p95 {:.1}, p99 {:.1} ms",
        at(50),
        at(95),
        at(99)
    );
}
