//! Draws the test picture and sounds the beep, at the pace of the clock.

use std::f64::consts::TAU;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use gst::prelude::*;
use tokio::sync::mpsc;

use super::encode::{audio_branch, collect, video_branch};
use super::{AccessUnit, Control, Picture, SourceSettings, watch};
use crate::pipeline::colours;
use crate::room::MediaKind;

const SAMPLE_RATE: u64 = 48_000;
/// Sound is made in pieces as long as this.
const BLOCK: Duration = Duration::from_millis(10);
const BEEP_HZ: f64 = 880.0;
const BEEP: Duration = Duration::from_millis(100);
const VOLUME: f64 = 0.15;

/// Runs until told to stop, or until nobody takes the units.
///
/// A turned picture gets a pipeline of its own, as a phone begins its encoder anew.
pub(super) fn run(
    settings: &SourceSettings,
    control: &Control,
    units: mpsc::Sender<AccessUnit>,
) -> anyhow::Result<()> {
    let mut pace = Pace::new(settings);
    while !control.stopped() && !units.is_closed() {
        pace.turn_picture(control.rotated());
        run_unturned(settings, &mut pace, control, units.clone())?;
    }
    Ok(())
}

fn run_unturned(
    settings: &SourceSettings,
    pace: &mut Pace,
    control: &Control,
    units: mpsc::Sender<AccessUnit>,
) -> anyhow::Result<()> {
    let (width, height) = pace.size;
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=pictures format=time is-live=true max-buffers=3 leaky-type=downstream \
         caps=video/x-raw,format=I420,width={width},height={height},framerate={}/1,{} ! {} \
         appsrc name=sounds format=time is-live=true max-buffers=50 leaky-type=downstream \
         caps=audio/x-raw,format=S16LE,rate={SAMPLE_RATE},channels=2,layout=interleaved ! {}",
        settings.frame_rate,
        colours::CAPS,
        video_branch(settings.codec, settings.kbps, false),
        audio_branch(false),
    ))
    .context("GStreamer lacks an encoder: install its base, good, bad and ugly plugins")?
    .downcast::<gst::Pipeline>()
    .map_err(|_| anyhow::anyhow!("GStreamer made no pipeline"))?;
    let element = |name| pipeline.by_name(name).context("the pipeline lacks a part");
    collect(
        &element("video")?,
        MediaKind::Video,
        Duration::ZERO,
        units.clone(),
    )?;
    collect(&element("audio")?, MediaKind::Audio, Duration::ZERO, units)?;
    let input = |name| {
        let element = element(name)?.downcast::<gst_app::AppSrc>();
        element.map_err(|_| anyhow::anyhow!("the pipeline has no input"))
    };
    let (pictures, sounds) = (input("pictures")?, input("sounds")?);
    pipeline.set_state(gst::State::Playing)?;
    control.now_runs(Some(&pipeline));

    watch(&pipeline, control, || {
        for (at, sound) in pace.sounds_due() {
            let _ = sounds.push_buffer(timed(sound, at, BLOCK));
        }
        if let Some((at, picture)) = pace.picture_due() {
            let _ = pictures.push_buffer(timed(picture, at, pace.frame));
        }
        std::thread::sleep(pace.until_next());
        control.rotated() == pace.rotated
    })
}

fn timed(data: Vec<u8>, at: Duration, duration: Duration) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_mut_slice(data);
    if let Some(buffer) = buffer.get_mut() {
        buffer.set_pts(gst::ClockTime::from_nseconds(at.as_nanos() as u64));
        buffer.set_duration(gst::ClockTime::from_nseconds(duration.as_nanos() as u64));
    }
    buffer
}

/// What is due when.
struct Pace {
    picture: Picture,
    size: (u32, u32),
    rotated: bool,
    began: Instant,
    /// The time of day at `began`, so that the sound and the picture count alike.
    began_at: Duration,
    frame: Duration,
    frame_rate: u64,
    next_frame: u64,
    next_block: u64,
}

impl Pace {
    fn new(settings: &SourceSettings) -> Self {
        let frame_rate = u64::from(settings.frame_rate.max(1));
        Self {
            picture: Picture::new(settings.size.0 as usize, settings.size.1 as usize),
            size: settings.size,
            rotated: false,
            began: Instant::now(),
            began_at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            frame: Duration::from_secs(1) / frame_rate as u32,
            frame_rate,
            next_frame: 0,
            next_block: 0,
        }
    }

    /// Width and height change places, as when a phone is turned.
    fn turn_picture(&mut self, rotated: bool) {
        if self.rotated != rotated {
            self.rotated = rotated;
            self.size = (self.size.1, self.size.0);
            self.picture = Picture::new(self.size.0 as usize, self.size.1 as usize);
        }
    }

    fn frame_at(&self, index: u64) -> Duration {
        Duration::from_nanos(index * 1_000_000_000 / self.frame_rate)
    }

    fn picture_due(&mut self) -> Option<(Duration, Vec<u8>)> {
        let elapsed = self.began.elapsed();
        if elapsed < self.frame_at(self.next_frame) {
            return None;
        }
        // After a stall the missed pictures are left out.
        let newest = elapsed.as_nanos() as u64 * self.frame_rate / 1_000_000_000;
        let index = newest.max(self.next_frame);
        self.next_frame = index + 1;
        let now = self.began_at + elapsed;
        Some((
            self.frame_at(index),
            self.picture.draw(now.as_millis() as u64),
        ))
    }

    fn sounds_due(&mut self) -> Vec<(Duration, Vec<u8>)> {
        let mut due = Vec::new();
        while BLOCK * self.next_block as u32 <= self.began.elapsed() {
            let at = BLOCK * self.next_block as u32;
            due.push((at, beep(self.began_at + at)));
            self.next_block += 1;
        }
        due
    }

    fn until_next(&self) -> Duration {
        let next = self
            .frame_at(self.next_frame)
            .min(BLOCK * self.next_block as u32);
        next.saturating_sub(self.began.elapsed())
    }
}

/// The sound of one block that begins at this time of day.
fn beep(begins: Duration) -> Vec<u8> {
    let samples = SAMPLE_RATE * BLOCK.as_millis() as u64 / 1000;
    (0..samples)
        .flat_map(|index| {
            let nanos = u64::from(begins.subsec_nanos()) + index * 1_000_000_000 / SAMPLE_RATE;
            let since = Duration::from_nanos(nanos % 1_000_000_000);
            let level = match since < BEEP {
                true => VOLUME * (TAU * BEEP_HZ * since.as_secs_f64()).sin(),
                false => 0.0,
            };
            let sample = ((level * f64::from(i16::MAX)) as i16).to_le_bytes();
            [sample[0], sample[1], sample[0], sample[1]]
        })
        .collect()
}
