//! WEBRTC: our own transport, made of webrtc-rs's sans-IO protocol crates.
//!
//! [`core`] decides, the files beside it move bytes. A publisher's packets come out at its
//! [`Sink`], called on the worker's thread.

pub mod core;
pub mod whip;
