//! The pure part of WebRTC: told the time, fed datagrams, asked for datagrams.

pub mod sdp;
pub mod sink;

pub use sink::{CloseReason, Event, ReceivedRtp, SenderReport, Sink, TrackId, TrackInfo};
