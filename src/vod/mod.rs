//! WHAT REMAINS: the live segments, kept, are the recording.
pub mod core;
