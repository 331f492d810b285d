//! The clients in the same binary: `amphi publish`.
