//! `amphi finish`: the child that makes, of a recording's segments, one file, a poster and thumbnails.
//!
//! It sees only its folder: no network, no storage. FFmpeg runs nowhere else.

use std::path::PathBuf;

#[cfg(feature = "finish")]
mod parameters;
#[cfg(feature = "finish")]
mod poster;
#[cfg(feature = "finish")]
mod remux;
#[cfg(feature = "finish")]
mod thumbnails;

/// What the child makes.
pub const FILM: &str = "recording.mp4";
pub const POSTER: &str = "poster.jpg";
pub const THUMBNAILS: &str = "thumbnails.vtt";

/// Whether a file is one that the child makes.
pub fn is_made(name: &str) -> bool {
    let sheet = name
        .strip_prefix("thumbnails-")
        .and_then(|rest| rest.strip_suffix(".jpg"));
    let sheet = sheet.is_some_and(|number| number.parse::<u16>().is_ok());
    sheet || [FILM, POSTER, THUMBNAILS].contains(&name)
}

#[derive(Debug, Clone, clap::Args)]
pub struct FinishArgs {
    /// Holds video-0.mp4, video-1.mp4 … and audio-0.mp4 …, one file for each init segment with
    /// all of its segments behind it. recording.mp4 and poster.jpg are put beside them
    pub folder: PathBuf,
}

/// The name of an input of the child: the `run`th file of `track`, "video" or "audio".
pub fn input_name(track: &str, run: usize) -> String {
    format!("{track}-{run}.mp4")
}

/// Makes recording.mp4, and where there is a picture, poster.jpg and the thumbnails.
#[cfg(feature = "finish")]
pub fn run(arguments: FinishArgs) -> anyhow::Result<()> {
    use anyhow::Context;
    use nix::sys::resource::{Resource, setrlimit};

    /// Ten hours' tables take about 0.3 GB; FFmpeg's libraries map some themselves.
    const MAX_MEMORY_BYTES: u64 = 4 << 30;
    /// Of all processes that have something to do (nice(2)).
    const LAST: i32 = 19;

    // It must not outlive a server that was killed: then its input ends.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
    // What is live goes first.
    rustix::process::nice(LAST)?;
    setrlimit(Resource::RLIMIT_AS, MAX_MEMORY_BYTES, MAX_MEMORY_BYTES)?;
    ffmpeg_next::init()?;
    ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Error);
    let folder = &arguments.folder;
    let [video, audio] = ["video", "audio"].map(|track| inputs(folder, track));
    let film = folder.join(FILM);
    let has_video = !video.is_empty();
    remux::remux(video, audio, &film).context("the segments cannot be put into one file")?;
    if has_video {
        poster::make(&film, &folder.join(POSTER)).context("no poster")?;
        thumbnails::make(&film, folder).context("no thumbnails")?;
    }
    Ok(())
}

#[cfg(not(feature = "finish"))]
pub fn run(_: FinishArgs) -> anyhow::Result<()> {
    anyhow::bail!("this amphi was built without the feature `finish`, which makes recording.mp4")
}

#[cfg(feature = "finish")]
fn inputs(folder: &std::path::Path, track: &str) -> Vec<PathBuf> {
    (0..)
        .map(|run| folder.join(input_name(track, run)))
        .take_while(|path| path.exists())
        .collect()
}
