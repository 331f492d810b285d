//! WHO MAY, and the API that producers use.
