//! Sending: a subscriber's half of forwarding.
//!
//! Read [`forward`] (one track's continuous stream), [`history`] (what can be sent again),
//! [`packet`] (the bytes on the wire) and [`track`], which holds these of one section; [`trend`]
//! and [`bandwidth`] (what the path carries), [`probe`] (whether it carries more), [`pacer`] (no
//! burst fills it); [`allocate`] (who gets how much of it) and [`patience`] (not now again); and
//! [`sender`], which composes them. Beside them, for all subscribers of a layer, stands
//! [`recent`].

pub mod allocate;
pub mod bandwidth;
pub mod forward;
pub mod history;
pub mod pacer;
pub mod packet;
pub mod patience;
pub mod probe;
pub mod recent;
pub mod sender;
pub mod track;
pub mod trend;
