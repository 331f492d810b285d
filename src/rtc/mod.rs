//! WEBRTC: our own transport, made of webrtc-rs's sans-IO protocol crates.
//!
//! [`core`] decides, the files beside it move bytes: [`socket`] (UDP with GRO and GSO), [`tcp`],
//! [`demux`] (whose datagram), [`worker`] (a thread's loop over many connections), [`crew`] (all
//! the workers), [`switchboard`] (who gets which track), [`origin`] (media made in this process),
//! [`handle`], by which the house uses them, and [`reach`], which tries at start where
//! clients will be sent. A publisher's packets come out at
//! its [`Sink`], called on the worker's thread, and at every subscriber in the same room.
//!
//! [`Sink`]: core::Sink

pub mod core;
pub mod crew;
pub mod demux;
pub mod handle;
pub mod ice_server;
pub mod origin;
pub mod reach;
pub mod roster;
pub mod session;
pub mod socket;
pub mod switchboard;
pub mod tcp;
pub mod whep;
pub mod whip;
pub mod worker;

pub use demux::ConnectionId;
pub use handle::{Error, Rtc, Settings};
pub use ice_server::IceServer;
pub use origin::{LocalSource, Origin};
