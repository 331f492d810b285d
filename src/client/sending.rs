//! The life of a publisher: connect, send, connect anew.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::peer_connection::RTCPeerConnectionState as State;

use super::peer::Peer;
use super::publish::{Codec, PublishArgs};
use super::rehearsal::Rehearsal;
use super::whip::{Endpoint, WhipError};
use crate::pipeline::source::{Input, Source, SourceSettings, VideoCodec};
use crate::room::MediaKind;

/// Between attempts, doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// ICE and DTLS take less on every network that is worth it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Why sending stopped.
enum Stop {
    /// The source, the time or the user's patience came to its end.
    Ended,
    Lost(&'static str),
}

pub(super) async fn publish(args: PublishArgs) -> anyhow::Result<()> {
    let mut source = Source::start(source_settings(&args))?;
    let endpoint = endpoint(&args);
    let ended = keep_publishing(&args, &endpoint, &mut source).await;
    // What ended the source says more than that it ended.
    source.finish().and(ended)
}

fn source_settings(args: &PublishArgs) -> SourceSettings {
    SourceSettings {
        input: match args.source.as_str() {
            "test" => Input::Test,
            path => Input::File {
                path: path.into(),
                looped: !args.once,
            },
        },
        codec: match args.codec {
            Codec::H264 => VideoCodec::H264,
            Codec::Vp8 => VideoCodec::Vp8,
        },
        size: args.size,
        kbps: args.bitrate,
        ..SourceSettings::default()
    }
}

fn endpoint(args: &PublishArgs) -> Endpoint {
    let mut url = args.whip.clone();
    if let Some(name) = &args.name {
        url.query_pairs_mut().append_pair("name", name);
    }
    Endpoint {
        url,
        token: args.token.clone(),
    }
}

async fn keep_publishing(
    args: &PublishArgs,
    endpoint: &Endpoint,
    source: &mut Source,
) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let length = args.length;
    let time_is_up = async {
        match length {
            Some(length) => tokio::time::sleep(length).await,
            None => std::future::pending().await,
        }
    };
    let end = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = time_is_up => {}
        }
    };
    tokio::pin!(end);
    let rehearsal = args.rehearse.clone().unwrap_or_default();
    let mut wait = FIRST_WAIT;
    loop {
        let opened = tokio::select! {
            opened = Peer::open(endpoint, args.codec) => opened,
            () = &mut end => return Ok(()),
        };
        match opened {
            Ok(mut peer) => {
                let stop = tokio::select! {
                    stop = send(&mut peer, source, &rehearsal) => stop,
                    () = &mut end => Stop::Ended,
                };
                let connected = *peer.state.borrow() == State::Connected;
                peer.close().await;
                match stop {
                    Stop::Ended => return Ok(()),
                    Stop::Lost(why) => eprintln!("{why}; connecting anew"),
                }
                if connected {
                    wait = FIRST_WAIT;
                }
            }
            Err(error @ WhipError::Refused { .. }) => return Err(error.into()),
            Err(WhipError::Failed(error)) => eprintln!("{error:#}; trying again"),
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = &mut end => return Ok(()),
            // The source goes on meanwhile; what nobody can see is thrown away.
            () = discard(source) => return Ok(()),
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn discard(source: &mut Source) {
    while source.next().await.is_some() {}
}

async fn send(peer: &mut Peer, source: &mut Source, rehearsal: &Rehearsal) -> Stop {
    let mut state = peer.state.clone();
    let connected = state.wait_for(|state| *state == State::Connected);
    tokio::select! {
        connected = tokio::time::timeout(CONNECT_TIMEOUT, connected) => {
            if !matches!(connected, Ok(Ok(_))) {
                return Stop::Lost("no connection by UDP; is its port open");
            }
        }
        () = discard(source) => return Stop::Ended,
    }
    println!("connected");
    let control = source.control();
    control.force_key_frame();
    let track = peer.video.track.local.clone();
    let requests = async {
        while track.poll().await.is_some() {
            tracing::debug!("key frame requested");
            control.force_key_frame();
        }
        std::future::pending::<()>().await;
    };
    let sent = [&peer.video, &peer.audio].map(|stream| stream.sent_bytes.clone());
    let report = async {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let mut before = 0;
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let now: u64 = sent.iter().map(|sent| sent.load(Ordering::Relaxed)).sum();
            if std::io::stdout().is_terminal() {
                println!("sending {} kbit/s", (now - before) / 125);
            }
            before = now;
        }
    };
    let lost = state.wait_for(|state| matches!(state, State::Failed | State::Closed));
    tokio::select! {
        stop = send_units(peer, source, rehearsal) => stop,
        () = requests => Stop::Lost("the connection ended"),
        () = report => Stop::Ended,
        _ = lost => Stop::Lost("the connection was lost"),
    }
}

async fn send_units(peer: &mut Peer, source: &mut Source, rehearsal: &Rehearsal) -> Stop {
    let control = source.control();
    let mut seen_key = false;
    while let Some(unit) = source.next().await {
        let moment = rehearsal.at(unit.at);
        control.rotate(moment.rotated);
        let stream = match unit.kind {
            MediaKind::Video if !moment.sends_picture => continue,
            MediaKind::Audio if !moment.sends_sound => continue,
            MediaKind::Video => {
                seen_key |= unit.key;
                if !seen_key {
                    continue;
                }
                &mut peer.video
            }
            MediaKind::Audio => &mut peer.audio,
        };
        if let Err(error) = stream.send(unit.at, &unit.data, moment.corrupts).await {
            tracing::debug!(%error, "not sent");
            return Stop::Lost("the connection does not take media");
        }
    }
    Stop::Ended
}
