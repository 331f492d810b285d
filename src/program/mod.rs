//! WHAT THE AUDIENCE SEES, the parent's side: a pipeline child is started, fed and watched.

pub mod core;
