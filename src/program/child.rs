//! The task that holds a broadcast's child: spawns, feeds, reads, watches, kills, replaces.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, warn};

use super::core::life::{Action, Life, Limits, USAGE_EVERY, Usage};
use super::core::suspects::Suspects;
use super::core::wire::{self, CRASHED, FromChild, InputId, InputSpec, LENGTH, Start, ToChild};
use super::feed::{Feed, MAX_PACKETS, Media, Wanted};
use super::usage::usage;
use super::{Epoch, Event, ProgramSettings};

/// Parts that wait for the house: some seconds of a ladder.
const MAX_EVENTS: usize = 256;
/// Packets written to the socket at once.
const BATCH: usize = 256;
/// Between two batches: each wakes the child.
const GATHER: Duration = Duration::from_millis(4);
/// A child that does not take its input for this long hangs.
const WRITE_WITHIN: Duration = Duration::from_secs(1);
/// How often it is told what a child costs.
const COST_EVERY: Duration = Duration::from_secs(5);
/// Lines of a child's log are cut there.
const MAX_LOG_LINE: usize = 2000;
/// The last words of a process that is gone are there by then.
const LOG_WITHIN: Duration = Duration::from_millis(200);

/// A broadcast's program. Dropping it stops it.
pub struct Program {
    feed: Feed,
    stop: CancellationToken,
    pid: Arc<AtomicU32>,
}

impl Program {
    /// Starts a child and the task that holds it; call it inside a tokio runtime.
    /// [`Event::Ended`] comes last.
    pub fn start(settings: ProgramSettings, epoch: Epoch) -> (Self, mpsc::Receiver<Event>) {
        let canvas_px = settings.ladder.canvas_px();
        let (packets, incoming) = mpsc::channel(MAX_PACKETS);
        let (wanted, to_have) = watch::channel(Wanted::default());
        let (events, receiver) = mpsc::channel(MAX_EVENTS);
        let stop = CancellationToken::new();
        let pid = Arc::new(AtomicU32::new(0));
        let limits = Limits {
            part: settings.part,
            renditions: settings.ladder.video.len() + 1,
            memory_bytes: settings.max_memory_bytes,
        };
        let keeper = Keeper {
            settings,
            epoch,
            life: Life::new(limits, Instant::now()),
            suspects: Suspects::default(),
            packets: incoming,
            wanted: to_have,
            events,
            stop: stop.clone(),
            pid: pid.clone(),
            made_parts: false,
        };
        tokio::spawn(keeper.run().in_current_span());
        let feed = Feed::new(packets, wanted, canvas_px, epoch);
        (Self { feed, stop, pid }, receiver)
    }

    pub fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// Finishes the last segment; [`Event::Ended`] tells when.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// The process that runs now.
    pub fn child_pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Keeper {
    settings: ProgramSettings,
    epoch: Epoch,
    life: Life,
    suspects: Suspects,
    packets: mpsc::Receiver<Media>,
    wanted: watch::Receiver<Wanted>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
    pid: Arc<AtomicU32>,
    /// Some child of this broadcast has made parts, so another one is a restart.
    made_parts: bool,
}

/// One running child.
struct Running {
    process: Child,
    write: OwnedWriteHalf,
    read: OwnedReadHalf,
    /// Passes its log on, to the end; the input that the log says it crashed for.
    log: JoinHandle<Option<InputId>>,
    /// What it was told to have.
    has: Wanted,
    out: Vec<u8>,
}

/// Why a child is gone.
struct End {
    why: String,
    /// It went by itself.
    is_crash: bool,
    /// For which input, if that is known.
    input: Option<InputId>,
}

impl End {
    fn by_us(why: &str) -> Self {
        Self {
            why: why.to_owned(),
            is_crash: false,
            input: None,
        }
    }

    fn crash(why: String) -> Self {
        Self {
            input: InputId::named_in(&why),
            is_crash: true,
            why,
        }
    }
}

impl Keeper {
    async fn run(mut self) {
        let reason = loop {
            match self.life.handle_timeout(Instant::now()) {
                Some(Action::Spawn) => match self.spawn() {
                    Ok(running) => {
                        let began = Instant::now();
                        self.life.handle_spawned(began);
                        let end = self.hold(running).await;
                        self.pid.store(0, Ordering::Relaxed);
                        if !self.stop.is_cancelled() {
                            self.bury(end, began).await;
                        }
                        self.life.handle_exit(Instant::now());
                    }
                    Err(error) => {
                        warn!(%error, "the pipeline's child cannot be started");
                        self.life.handle_exit(Instant::now());
                    }
                },
                Some(Action::Kill(_) | Action::GiveUp) => {}
                None => {}
            }
            if self.life.is_over() {
                break if self.stop.is_cancelled() {
                    "stopped"
                } else {
                    "given up"
                };
            }
            let due = self
                .life
                .poll_timeout()
                .map(|(at, _)| at)
                .unwrap_or_else(Instant::now);
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {}
                () = self.stop.cancelled() => self.life.handle_stop(Instant::now()),
            }
        };
        let _ = self
            .events
            .send(Event::Ended {
                reason: reason.to_owned(),
            })
            .await;
    }

    /// Says why a child is gone, and keeps out whom it crashed for twice.
    async fn bury(&mut self, end: End, began: Instant) {
        let End {
            why,
            is_crash,
            input,
        } = end;
        warn!(why, ?input, "the pipeline's child is gone");
        let now = Instant::now();
        let poison = is_crash.then(|| self.suspects.handle_crash(input, began, now));
        if let Some(input) = poison.flatten() {
            warn!(
                ?input,
                "an input crashed the pipeline again: it is kept out of the program"
            );
            if self.events.send(Event::KeptOut { input }).await.is_err() {
                self.stop.cancel();
            }
        }
    }

    fn spawn(&self) -> std::io::Result<Running> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut process = Command::new(&self.settings.executable)
            .arg("pipeline")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        self.pid.store(process.id().unwrap_or(0), Ordering::Relaxed);
        info!(pid = process.id(), "a pipeline's child starts");
        let stderr = process.stderr.take();
        let log = tokio::spawn(pass_on_log(stderr).in_current_span());
        let (read, write) = UnixStream::from_std(ours)?.into_split();
        let mut out = Vec::new();
        let start = ToChild::Start(Start {
            ladder: self.settings.ladder.clone(),
            segment: self.settings.segment,
            part: self.settings.part,
            base_time: self.epoch.base_time,
            max_memory_bytes: self.settings.max_memory_bytes,
            auto_gain: self.settings.auto_gain,
        });
        wire::write(&start, &mut out).map_err(std::io::Error::other)?;
        Ok(Running {
            process,
            write,
            read,
            log,
            has: Wanted::default(),
            out,
        })
    }

    /// Until the child is gone; says why.
    async fn hold(&mut self, running: Running) -> End {
        let Running {
            mut process,
            mut write,
            mut read,
            log,
            mut has,
            mut out,
        } = running;
        let (frames, mut from_child) = mpsc::channel(MAX_EVENTS);
        let reading = tokio::spawn(async move { read_frames(&mut read, frames).await });
        let (mut told_to_stop, mut fed) = (false, true);
        let mut last_word = None;
        let mut next_batch = Instant::now();
        let mut cost = Cost::default();
        let mut usage_due = tokio::time::interval(USAGE_EVERY);
        usage_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if self.made_parts && self.events.send(Event::Restarted).await.is_err() {
            self.stop.cancel();
        }
        self.wanted.mark_changed();
        let mut end = loop {
            if !out.is_empty() {
                let written = tokio::time::timeout(WRITE_WITHIN, write.write_all(&out)).await;
                out.clear();
                match written {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => break End::crash(format!("it takes no input: {error}")),
                    Err(_) => break End::by_us("it takes no input"),
                }
            }
            let due = self.life.poll_timeout().map(|(at, _)| at);
            let due = [due, self.suspects.poll_timeout()].into_iter().flatten();
            let due = due.min().unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                () = self.stop.cancelled(), if !told_to_stop => {
                    told_to_stop = true;
                    self.life.handle_stop(Instant::now());
                    put(&ToChild::Stop, &mut out);
                }
                changed = self.wanted.changed(), if fed => {
                    // Nobody holds a feed any more: it will not change again.
                    fed = changed.is_ok();
                    let mut wanted = self.wanted.borrow_and_update().clone();
                    let inputs = wanted.inputs.keys().copied().collect();
                    self.suspects.handle_inputs(&inputs, Instant::now());
                    wanted.leave_out(|input| self.suspects.is_out(input));
                    tell_difference(&has, &wanted, &mut out);
                    has = wanted;
                }
                frame = from_child.recv() => match frame {
                    Some(FromChild::LastWord(word)) => last_word = Some(word),
                    Some(frame) => self.handle(frame).await,
                    None => {
                        let why = last_word.unwrap_or_else(|| "it closed its socket".to_owned());
                        break End::crash(why);
                    }
                },
                Some(packet) = recv_from(&mut self.packets, next_batch) => {
                    next_batch = Instant::now() + GATHER;
                    let mut next = Some(packet);
                    for left in (0..BATCH).rev() {
                        let Some(Media { input, message }) = next else { break };
                        if input.is_none_or(|input| has.inputs.contains_key(&input)) {
                            put(&message, &mut out);
                        }
                        next = if left > 0 { self.packets.try_recv().ok() } else { None };
                    }
                }
                _ = usage_due.tick() => {
                    let pid = process.id();
                    let usage = pid.and_then(usage);
                    if let Some(cost) = usage.and_then(|usage| cost.handle_usage(usage, Instant::now())) {
                        let _ = self.events.try_send(cost);
                    }
                    let action = usage.and_then(|usage| self.life.handle_usage(usage, Instant::now()));
                    if let Some(Action::Kill(why)) = action {
                        break End::by_us(why);
                    }
                }
                () = tokio::time::sleep_until(due.into()) => {
                    if let Some(Action::Kill(why)) = self.life.handle_timeout(Instant::now()) {
                        break End::by_us(why);
                    }
                    if self.suspects.handle_timeout(Instant::now()) {
                        self.wanted.mark_changed();
                    }
                }
            }
        };
        let _ = process.kill().await;
        if end.is_crash
            && let Ok(Ok(named)) = tokio::time::timeout(LOG_WITHIN, log).await
        {
            end.input = end.input.or(named);
        }
        // What it made before it died is good.
        while let Some(frame) = from_child.recv().await {
            self.handle(frame).await;
        }
        reading.abort();
        end
    }

    async fn handle(&mut self, frame: FromChild) {
        let event = match frame {
            FromChild::Init { rendition, bytes } => Event::Init { rendition, bytes },
            FromChild::Part(part) => {
                self.life.handle_part(&part.rendition, Instant::now());
                self.made_parts = true;
                Event::Part(part)
            }
            FromChild::Rtp { rendition, packets } => Event::Rtp { rendition, packets },
            FromChild::Delays { stage, delays } => Event::Delays { stage, delays },
            FromChild::Load(load) => Event::Load(load),
            FromChild::Shed(is_shed) => {
                match is_shed {
                    true => warn!(
                        "encoding falls behind: the largest rendition shows the next smaller one for a while"
                    ),
                    false => info!("the largest rendition is its own again"),
                }
                Event::Shed(is_shed)
            }
            FromChild::Skew(delay) => Event::Skew(delay),
            FromChild::KeyFrameWanted { input } => Event::KeyFrameWanted { input },
            FromChild::InputFailed { input, reason } => {
                if let Some(rest) = self.suspects.handle_failure(input, Instant::now()) {
                    warn!(
                        ?input,
                        reason,
                        ?rest,
                        "an input is broken: it is left out for a while"
                    );
                    self.wanted.mark_changed();
                }
                return;
            }
            FromChild::LastWord(word) => return warn!(word, "the pipeline's last word"),
        };
        if self.events.send(event).await.is_err() {
            self.stop.cancel();
        }
    }
}

/// What a child costs, told every few seconds.
#[derive(Default)]
struct Cost {
    told: Option<(Instant, Duration)>,
}

impl Cost {
    fn handle_usage(&mut self, usage: Usage, now: Instant) -> Option<Event> {
        let (since, before) = *self.told.get_or_insert((now, usage.cpu));
        let time = now.saturating_duration_since(since);
        if time < COST_EVERY {
            return None;
        }
        self.told = Some((now, usage.cpu));
        let cpu = usage.cpu.saturating_sub(before);
        Some(Event::Cost { cpu, time })
    }
}

async fn recv_from(packets: &mut mpsc::Receiver<Media>, from: Instant) -> Option<Media> {
    tokio::time::sleep_until(from.into()).await;
    packets.recv().await
}

async fn read_frames(read: &mut OwnedReadHalf, frames: mpsc::Sender<FromChild>) {
    loop {
        let mut word = [0; LENGTH];
        if read.read_exact(&mut word).await.is_err() {
            return;
        }
        let Ok(len) = wire::frame_len(word) else {
            return;
        };
        let mut body = vec![0; len];
        if read.read_exact(&mut body).await.is_err() {
            return;
        }
        match wire::read(&body) {
            Ok(frame) => {
                if frames.send(frame).await.is_err() {
                    return;
                }
            }
            Err(error) => return warn!(%error, "the pipeline's child speaks nonsense"),
        }
    }
}

/// Brings a child from what it `has` to what is `wanted`.
fn tell_difference(has: &Wanted, wanted: &Wanted, out: &mut Vec<u8>) {
    let changed = |a: &BTreeMap<InputId, InputSpec>, b: &BTreeMap<InputId, InputSpec>| {
        let missing = a.iter().filter(|(id, spec)| b.get(id) != Some(spec));
        missing.map(|(_, spec)| spec.clone()).collect::<Vec<_>>()
    };
    for new in changed(&wanted.inputs, &has.inputs) {
        put(&ToChild::AddInput(new), out);
    }
    if has.canvas != wanted.canvas {
        put(&ToChild::Show(wanted.canvas.clone()), out);
    }
    // Last, so that they may be seen until what is to be seen instead is there.
    for gone in has.inputs.keys() {
        if !wanted.inputs.contains_key(gone) {
            put(&ToChild::RemoveInput(*gone), out);
        }
    }
    if has.rtp != wanted.rtp {
        put(&ToChild::SendRtp(wanted.rtp), out);
    }
}

fn put(message: &ToChild, out: &mut Vec<u8>) {
    let before = out.len();
    if let Err(error) = wire::write(message, out) {
        out.truncate(before);
        warn!(%error, "a message to the pipeline is left out");
    }
}

/// The input that it says it crashed for.
async fn pass_on_log(stderr: Option<ChildStderr>) -> Option<InputId> {
    let mut crashed_for = None;
    let mut lines = BufReader::new(stderr?).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line: String = line.chars().take(MAX_LOG_LINE).collect();
        if line.is_empty() {
            continue;
        }
        if line.starts_with(CRASHED) {
            crashed_for = InputId::named_in(&line);
        }
        warn!(target: "amphi::pipeline", "{line}");
    }
    crashed_for
}
