//! SDP: what an [`offer`] says, what we [`answer`], what both agreed on ([`agreement`]), and the
//! [`fragment`]s by which ICE goes on after it.

pub mod agreement;
pub mod answer;
pub mod fragment;
pub mod offer;

pub use agreement::Agreement;
pub use answer::{AnswerSettings, answer};
pub use fragment::Fragment;
pub use offer::{Offer, OfferError};

#[cfg(test)]
mod tests;
