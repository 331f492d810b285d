//! `amphi publish`: a test picture or a media file, published over WebRTC.

use std::time::Duration;

use reqwest::Url;

use super::rehearsal::Rehearsal;

/// How the picture is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Codec {
    /// Constrained baseline.
    H264,
    /// VP8.
    Vp8,
}

/// Publish a test picture or a media file to a room.
#[derive(Debug, Clone, clap::Args)]
pub struct PublishArgs {
    /// `test` (a moving picture with a clock, and a beep a second), or a media file.
    #[arg(default_value = "test")]
    pub source: String,
    /// The WHIP endpoint, for instance http://localhost:8080/whip/lobby.
    #[arg(long)]
    pub whip: Url,
    /// The token that lets you publish.
    #[arg(long, env = "AMPHI_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// The name that others see.
    #[arg(long)]
    pub name: Option<String>,
    /// How the picture is compressed.
    #[arg(long, value_enum, default_value = "h264")]
    pub codec: Codec,
    /// End after so long, for instance 90s or 5m.
    #[arg(long = "for", value_parser = humantime::parse_duration)]
    pub length: Option<Duration>,
    /// Play a file once, not again and again.
    #[arg(long)]
    pub once: bool,
    /// The picture's size.
    #[arg(long, value_parser = size, default_value = "1280x720")]
    pub size: (u32, u32),
    /// The picture's bitrate, in kilobits a second.
    #[arg(long, default_value_t = 2500, value_parser = clap::value_parser!(u32).range(50..=50_000))]
    pub bitrate: u32,
    /// Rehearse what happens in the field, for instance rotate@3s+4s,mute@5s: rotate (the test
    /// picture), mute, hide, stall or corrupt (what is sent), from when, and for how long.
    #[arg(long, default_value = None)]
    pub rehearse: Option<Rehearsal>,
}

/// Publishes until the source or the time ends, or SIGINT or SIGTERM comes. Blocks.
///
/// # Errors
/// When the source cannot be shown or the server refuses; a lost connection is made anew.
#[cfg(feature = "pipeline")]
pub fn run(args: PublishArgs) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(super::sending::publish(args))
}

/// # Errors
/// Always: there is nothing to publish with.
#[cfg(not(feature = "pipeline"))]
pub fn run(_: PublishArgs) -> anyhow::Result<()> {
    anyhow::bail!("this amphi was built without its pipeline; build it with --features pipeline")
}

/// `1280x720`: two even numbers.
fn size(text: &str) -> Result<(u32, u32), String> {
    let parse = || {
        let (width, height) = text.split_once('x')?;
        Some((width.parse().ok()?, height.parse().ok()?))
    };
    match parse() {
        Some((width, height)) if width % 2 == 0 && height % 2 == 0 => Ok((width, height)),
        _ => Err("give width and height, both even, like 1280x720".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_even() {
        let check = |text: &str, expected| assert_eq!(size(text).ok(), expected, "{text}");
        check("1280x720", Some((1280, 720)));
        check("1281x720", None);
        check("1280", None);
        check("-2x2", None);
    }
}
