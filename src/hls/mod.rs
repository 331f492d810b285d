//! WHAT THE AUDIENCE FETCHES: low-latency HLS (RFC 8216bis).
//!
//! Read [`core`] first: it decides everything. [`window`] is a broadcast on the air, shared
//! by who makes it and who watches it; [`playlist`] the rendered text that all viewers share;
//! [`origin`] the HTTP routes, [`reply`] how an answer is put together, `audience` how many watch, [`front`] the short
//! way there.

mod audience;
pub mod core;
pub mod front;
pub mod origin;
pub mod playlist;
mod reply;
mod seats;
pub mod settings;
pub mod window;

pub use core::rendition::{Rendition, RenditionKind};
pub use core::segment::{ClosedSegment, Init, Part, Refused};
pub use core::timeline::InitTaken;
pub use front::Front;
pub use origin::{Directory, Origin, routes};
pub use settings::Settings;
pub use window::{Live, Unavailable};
