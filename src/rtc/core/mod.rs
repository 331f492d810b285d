//! The pure part of WebRTC: told the time, fed datagrams, asked for datagrams.
//!
//! Read [`sink`] (what comes out), [`sdp`] (what was agreed), [`ice`], [`dtls`], [`srtp`],
//! [`rtcp`], [`receive`], and [`connection`], which composes them.

pub mod connection;
pub mod dtls;
pub mod ice;
pub mod receive;
pub mod rtcp;
pub mod sdp;
pub mod sink;
pub mod srtp;

pub use sink::{CloseReason, Event, ReceivedRtp, SenderReport, Sink, TrackId, TrackInfo};
