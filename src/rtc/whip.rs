//! WHIP (RFC 9725): publish over HTTP.
