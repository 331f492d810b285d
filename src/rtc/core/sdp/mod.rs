//! SDP: what an [`offer`] says, what we [`answer`], what both agreed on ([`agreement`]), what we
//! offer ourselves ([`subscription`]), and the [`fragment`]s by which ICE goes on after it.

pub mod agreement;
pub mod answer;
pub mod client;
pub mod fragment;
pub mod offer;
pub mod subscription;
mod write;

pub use agreement::Agreement;
pub use answer::{AnswerSettings, Published, answer, answer_subscriber};
pub use fragment::Fragment;
pub use offer::{Offer, OfferError};
pub use subscription::Subscription;
pub use write::{Candidate, candidate_line};

#[cfg(test)]
mod tests;
