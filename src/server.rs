//! Builds the house and runs it.
