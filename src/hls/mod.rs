//! WHAT THE AUDIENCE FETCHES: low-latency HLS (RFC 8216bis).
pub mod core;
