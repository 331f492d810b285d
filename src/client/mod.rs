//! The clients in the same binary: `amphi publish`.
//!
//! `publish` is the command, `sending` its work: it connects a `peer` (WebRTC by the `webrtc` crate, a stack that is
//! not our own) by `whip` (RFC 9725), and hears the server's wish for key frames by `key_frames`.
//! `rehearsal` lets it behave as publishers in the field do.

#[cfg(feature = "pipeline")]
mod key_frames;
#[cfg(feature = "pipeline")]
mod peer;
pub mod publish;
mod rehearsal;
#[cfg(feature = "pipeline")]
mod sending;
#[cfg(feature = "pipeline")]
mod whip;
