//! Sending: a subscriber's half of forwarding.
//!
//! Read [`forward`] (one track's continuous stream), [`history`] (what can be sent again),
//! [`packet`] (the bytes on the wire), [`trend`] and [`bandwidth`] (what the path carries),
//! [`allocate`] (who gets how much of it), and [`sender`], which composes them.

pub mod allocate;
pub mod bandwidth;
pub mod forward;
pub mod history;
pub mod packet;
pub mod sender;
pub mod trend;
