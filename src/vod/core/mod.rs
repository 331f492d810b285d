//! The pure part of recordings: manifest, retention.
