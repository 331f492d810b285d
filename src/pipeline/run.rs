//! Messages from the parent move the graph; what the graph makes goes back.

use std::io::{BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::Context;
use gst::prelude::*;
use nix::sys::resource::{Resource, setrlimit};

use super::abilities::{abilities, load};
use super::crash;
use super::graph::Graph;
use crate::program::core::lip_sync::Report;
use crate::program::core::wire::{self, FromChild, InputId, LENGTH, ToChild};

/// Frames that wait for the parent, some seconds of a ladder; when it does not read, the graph
/// waits too, and the parent will end this process.
const MAX_WAITING: usize = 512;

/// Some tens of packets.
const READ_AT_ONCE: usize = 64 << 10;

/// Of stacks and arenas that are never filled.
const RESERVED_BYTES: u64 = 2 << 30;

/// Time for the last word to get out.
const LAST_WORD_WITHIN: Duration = Duration::from_millis(50);

/// Where the graph's threads leave what they have made.
pub type Outbox = SyncSender<FromChild>;

/// The child's life: standard input is the socket to the parent, standard error its log.
pub fn run() -> anyhow::Result<()> {
    let socket = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("standard input")?;
    let incoming = UnixStream::from(socket);
    let outgoing = incoming
        .try_clone()
        .context("amphi pipeline is started by the server")?;
    let (outbox, frames) = sync_channel(MAX_WAITING);
    let writer = std::thread::spawn(move || write_frames(outgoing, &frames));

    let mut incoming = BufReader::with_capacity(READ_AT_ONCE, incoming);
    let ended = work(&mut incoming, outbox.clone());
    if let Err(error) = &ended {
        let _ = outbox.send(FromChild::LastWord(format!("{error:#}")));
    }
    drop(outbox);
    if ended.is_ok() {
        let _ = writer.join();
    } else {
        // After an error the graph is not taken apart: that can block for ever.
        std::thread::sleep(LAST_WORD_WITHIN);
        std::process::exit(1);
    }
    ended
}

/// Reads the ladder, and answers with what this machine can do.
pub fn tell_abilities() -> anyhow::Result<()> {
    let mut input = std::io::stdin().lock();
    let mut word = [0; LENGTH];
    input.read_exact(&mut word)?;
    let mut body = vec![0; wire::frame_len(word)?];
    input.read_exact(&mut body)?;
    let mut out = Vec::new();
    wire::write(&abilities(&wire::read(&body)?)?, &mut out)?;
    std::io::stdout().write_all(&out)?;
    Ok(())
}

fn work(incoming: &mut impl Read, outbox: Outbox) -> anyhow::Result<()> {
    crash::name_the_thread().context("signal handlers")?;
    load()?;
    let Some(ToChild::Start(start)) = read_message(incoming)? else {
        anyhow::bail!("the parent's first message is not Start");
    };
    limit_memory(start.max_memory_bytes);
    let mut graph = Graph::new(&start, outbox.clone())?;
    graph.play(start.base_time)?;
    let ended = watch(graph.bus(), outbox);
    while let Some(message) = read_message(incoming)? {
        graph.handle_time()?;
        match message {
            ToChild::Start(_) => anyhow::bail!("a second Start"),
            ToChild::AddInput(spec) => graph.add_input(&spec)?,
            ToChild::RemoveInput(id) => graph.remove_input(id),
            ToChild::Show(canvas) => graph.show(canvas)?,
            ToChild::Rtp {
                input,
                arrival,
                packet,
            } => graph.rtp(input, arrival, packet),
            ToChild::SenderReport { input, ntp, rtp } => {
                graph.sender_report(input, Report { ntp, rtp });
            }
            ToChild::SendRtp(wanted) => graph.send_rtp(wanted),
            ToChild::ForceKeyFrame { rendition } => graph.force_key_frame(&rendition),
            ToChild::Stop => {
                graph.finish(&ended);
                return Ok(());
            }
        }
    }
    // The parent is gone: there is nobody to make anything for.
    std::process::exit(0);
}

/// For what grows faster than the parent can see: then an allocation fails, and this process ends.
/// The limit counts what is reserved too, such as the stacks of threads.
fn limit_memory(bytes: u64) {
    let most = bytes.saturating_mul(2).saturating_add(RESERVED_BYTES);
    if let Err(error) = setrlimit(Resource::RLIMIT_DATA, most, most) {
        eprintln!("memory is limited by the parent alone: {error}");
    }
}

/// `None` at the end of the stream.
fn read_message(incoming: &mut impl Read) -> anyhow::Result<Option<ToChild>> {
    let mut word = [0; LENGTH];
    if incoming.read_exact(&mut word).is_err() {
        return Ok(None);
    }
    let mut body = vec![0; wire::frame_len(word)?];
    if incoming.read_exact(&mut body).is_err() {
        return Ok(None);
    }
    Ok(Some(wire::read(&body)?))
}

fn write_frames(mut outgoing: UnixStream, frames: &Receiver<FromChild>) {
    let mut out = Vec::new();
    while let Ok(frame) = frames.recv() {
        out.clear();
        if let Err(error) = wire::write(&frame, &mut out) {
            eprintln!("a frame is left out: {error}");
            continue;
        }
        if outgoing.write_all(&out).is_err() {
            // The parent is gone.
            std::process::exit(0);
        }
    }
}

/// Whether what failed is being taken out of the graph, or was: its last picture may find no way.
fn is_leaving(source: &gst::Object) -> bool {
    let mut at = Some(source.clone());
    while let Some(object) = at {
        if object.is::<gst::Pipeline>() {
            return false;
        }
        let element = object.downcast_ref::<gst::Element>();
        if element.is_some_and(ElementExt::is_locked_state) {
            return true;
        }
        at = object.parent();
    }
    true
}

/// The only reader of the bus. An input that has failed makes nothing any more, and the others go
/// on: the parent takes it away. A graph that has failed does not recover: say why, and let the
/// parent start another. The receiver is told of the end of the stream.
fn watch(bus: gst::Bus, outbox: Outbox) -> Receiver<()> {
    let (end, ended) = sync_channel(1);
    std::thread::spawn(move || {
        for message in bus.iter_timed(gst::ClockTime::NONE) {
            match message.view() {
                gst::MessageView::Eos(_) => {
                    let _ = end.send(());
                    return;
                }
                gst::MessageView::Error(error) if error.src().is_some_and(is_leaving) => {}
                gst::MessageView::Error(error) => {
                    let source = error.src().map(|s| s.path_string().to_string());
                    let debug = error.debug().unwrap_or_default();
                    let source = source.unwrap_or_default();
                    let word = format!("{source}: {} ({debug})", error.error());
                    if let Some(input) = InputId::named_in(&source) {
                        let reason = word;
                        let _ = outbox.send(FromChild::InputFailed { input, reason });
                        continue;
                    }
                    let _ = outbox.send(FromChild::LastWord(word));
                    std::thread::sleep(LAST_WORD_WITHIN);
                    std::process::exit(1);
                }
                _ => {}
            }
        }
    });
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_ends_nothing() {
        gst::init().expect("GStreamer");
        let pipeline = gst::Pipeline::new();
        let bin = gst::parse::bin_from_description("fakesrc name=card ! fakesink", false);
        let bin = bin.expect("a bin");
        let card = bin.by_name("card").expect("an element");
        pipeline.add(&bin).expect("added");
        assert!(!is_leaving(card.upcast_ref()));
        assert!(!is_leaving(pipeline.upcast_ref()));
        bin.set_locked_state(true);
        assert!(is_leaving(card.upcast_ref()));
        bin.set_locked_state(false);
        pipeline.remove(&bin).expect("removed");
        assert!(is_leaving(card.upcast_ref()));
    }
}
