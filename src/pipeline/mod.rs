//! The child's side of the program, the only user of GStreamer.

pub mod source;
