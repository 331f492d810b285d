//! What `amphi publish` sends: the test picture or a media file, encoded in real time.

mod encode;
mod file;
mod picture;
mod test_signal;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::mpsc;

pub use encode::{AccessUnit, VideoCodec};
pub use picture::{COLUMNS, Picture, barcode};

/// What is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A moving picture with a clock, and a beep at each full second.
    Test,
    /// A media file that GStreamer can decode.
    File {
        /// Where it is.
        path: PathBuf,
        /// Whether it starts again at its end.
        looped: bool,
    },
}

/// What to encode, and how.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// What is shown.
    pub input: Input,
    /// How the picture is compressed.
    pub codec: VideoCodec,
    /// In pixels, both even.
    pub size: (u32, u32),
    /// Of the test picture, in frames a second.
    pub frame_rate: u32,
    /// Of the picture, in kilobits a second.
    pub kbps: u32,
}

impl Default for SourceSettings {
    fn default() -> Self {
        Self {
            input: Input::Test,
            codec: VideoCodec::H264,
            size: (1280, 720),
            frame_rate: 30,
            kbps: 2500,
        }
    }
}

/// A second of pictures and sound; who reads slower than that loses some.
const QUEUED_UNITS: usize = 100;
/// How often the thread looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);

/// A running source. It stops when it is dropped.
pub struct Source {
    units: mpsc::Receiver<AccessUnit>,
    control: Control,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

/// Asks a running source for things; cheap to clone.
#[derive(Clone, Default)]
pub struct Control {
    stop: Arc<AtomicBool>,
    rotated: Arc<AtomicBool>,
    pipeline: Arc<Mutex<Option<gst::Pipeline>>>,
}

impl Control {
    /// Makes the next picture a key frame.
    pub fn force_key_frame(&self) {
        let pipeline = self.pipeline.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = &*pipeline {
            encode::force_key_frame(pipeline);
        }
    }

    /// Lets the test picture stand on its side, or not.
    pub fn rotate(&self, rotated: bool) {
        self.rotated.store(rotated, Ordering::Relaxed);
    }

    fn rotated(&self) -> bool {
        self.rotated.load(Ordering::Relaxed)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn now_runs(&self, running: Option<&gst::Pipeline>) {
        let mut pipeline = self.pipeline.lock().unwrap_or_else(PoisonError::into_inner);
        *pipeline = running.cloned();
    }
}

impl Source {
    /// Starts encoding at once, on threads of its own.
    ///
    /// # Errors
    /// When the settings make no sense, the file is not there, or GStreamer lacks a part.
    pub fn start(settings: SourceSettings) -> anyhow::Result<Self> {
        let (width, height) = settings.size;
        if width % 2 + height % 2 > 0 || width < 160 || height < 90 {
            bail!("the picture must be even in width and height, and at least 160x90");
        }
        if let Input::File { path, .. } = &settings.input {
            std::fs::metadata(path).with_context(|| format!("cannot open {}", path.display()))?;
        }
        gst::init().context("GStreamer does not start")?;
        let (sender, units) = mpsc::channel(QUEUED_UNITS);
        let control = Control::default();
        let thread = std::thread::Builder::new()
            .name("source".to_owned())
            .spawn({
                let control = control.clone();
                move || match &settings.input {
                    Input::Test => test_signal::run(&settings, &control, sender),
                    Input::File { path, looped } => {
                        let began = Instant::now();
                        loop {
                            file::play(path, &settings, began.elapsed(), &control, &sender)?;
                            if !looped || control.stopped() {
                                return Ok(());
                            }
                        }
                    }
                }
            })?;
        Ok(Self {
            units,
            control,
            thread: Some(thread),
        })
    }

    /// To ask for key frames from elsewhere.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The next picture or packet of sound; `None` when the source has ended.
    pub async fn next(&mut self) -> Option<AccessUnit> {
        self.units.recv().await
    }

    /// Stops, and tells what went wrong if something did.
    ///
    /// # Errors
    /// What made the source end.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.control.stop.store(true, Ordering::Relaxed);
        self.units.close();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => bail!("the source's thread panicked"),
            None => Ok(()),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Waits until the pipeline ends by itself, fails, or is told to stop; then takes it down.
/// `turn` is called again and again, and says whether to go on.
fn watch(
    pipeline: &gst::Pipeline,
    control: &Control,
    mut turn: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    use gst::prelude::*;
    let bus = pipeline.bus().context("the pipeline has no bus")?;
    let mut ended = Ok(());
    while !control.stopped() && turn() {
        let message = bus.pop_filtered(&[gst::MessageType::Error, gst::MessageType::Eos]);
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => {
                let debug = error.debug().unwrap_or_default();
                ended = Err(anyhow::anyhow!("{} ({debug})", error.error()));
                break;
            }
            Some(_) => break,
            None => {}
        }
    }
    control.now_runs(None);
    pipeline.set_state(gst::State::Null)?;
    ended
}

#[cfg(test)]
mod tests;
