//! The clients in the same binary: `amphi publish`, `amphi load`, and `operate`: `amphi room`, `amphi recording` and `amphi key`.
//!
//! `publish` is the command, `sending` its work: it connects a `peer` (WebRTC by the `webrtc` crate, a stack that is
//! not our own) by `whip` (RFC 9725), and hears the server's wish for key frames by `key_frames`.
//! `rehearsal` lets it behave as publishers in the field do. `load` is many peers at once, made of
//! the server's own transport, which costs little.

#[cfg(feature = "pipeline")]
mod key_frames;
pub mod load;
pub mod operate;
#[cfg(feature = "pipeline")]
mod peer;
pub mod publish;
mod rehearsal;
#[cfg(feature = "pipeline")]
mod sending;
#[cfg(feature = "pipeline")]
mod whip;
