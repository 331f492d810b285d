//! Receiving: decrypted packets become a track's packets, losses are asked for again, and the
//! sender is told how its packets arrive.
//!
//! Read [`rtp`] (one header), [`payload`], [`sps`] and [`vp9`] (one payload), [`dependency`] (what
//! may stand before it), [`sequence`], [`nack`], [`rtx`], then [`stream`] (one source) with
//! [`spatial`] and [`temporal`] (its layers), [`tracks`] (which source is whose), [`twcc`],
//! [`reception`] and [`rate`] (what is told and measured), and [`receiver`], which composes them.

pub mod dependency;
pub mod nack;
pub mod payload;
pub mod rate;
pub mod receiver;
pub mod reception;
pub mod rtp;
pub mod rtx;
pub mod sequence;
pub mod spatial;
pub mod sps;
pub mod stats;
pub mod stream;
pub mod temporal;
pub mod tracks;
pub mod twcc;
pub mod vp9;
