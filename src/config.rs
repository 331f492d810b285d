//! The settings table.
