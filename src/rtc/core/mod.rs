//! The pure part of WebRTC: told the time, fed datagrams, asked for datagrams.
//!
//! Read [`sink`] (what comes out), [`sdp`] (what was agreed), [`ice`], [`dtls`], [`srtp`],
//! [`rtcp`], [`receive`], [`send`], [`data`], [`outbox`], [`connection`], which composes them ([`prefetch`] has their memory there in time), and [`turn`], which
//! stands before it for who needs a relay, and [`verdict`], which says why one failed; [`quality`] warns of one that does badly.

pub mod connection;
pub mod data;
pub mod dtls;
pub mod ice;
pub mod outbox;
pub mod prefetch;
pub mod quality;
pub mod receive;
pub mod rtcp;
pub mod sdp;
pub mod send;
pub mod sink;
pub mod srtp;
pub mod turn;
pub mod verdict;

pub use sink::{
    CloseReason, Demand, Event, LayerInfo, ReceivedRtp, SenderReport, Sink, TrackId, TrackInfo,
};
