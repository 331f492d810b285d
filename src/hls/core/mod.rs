//! The pure part of HLS: timeline, playlists and the answer to a blocking reload.
