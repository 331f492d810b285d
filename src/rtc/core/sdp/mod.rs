//! Offers read, answers written (RFC 8829, RFC 9725 §4.2).

pub mod agreement;
