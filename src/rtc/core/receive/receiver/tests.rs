//! The receiver by script.
