//! What the control plane decides, without I/O: a [`journal`] of what happened, when a webhook is tried
//! again ([`retry`]), and which addresses it may reach ([`address`]).

pub mod address;
pub mod journal;
pub mod retry;
