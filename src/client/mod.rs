//! The clients in the same binary: `amphi publish`.
//!
//! `publish` is the command; it connects a `peer` (WebRTC by the `webrtc` crate, a stack that is
//! not our own) by `whip` (RFC 9725), and hears the server's wish for key frames by `key_frames`.
//! `rehearsal` lets it behave as publishers in the field do.

mod key_frames;
mod peer;
pub mod publish;
mod rehearsal;
mod whip;
