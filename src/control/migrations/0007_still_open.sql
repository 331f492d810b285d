-- What began and has not ended: whom a server that dies leaves in its rooms, its broadcasts, and the recordings
-- that are not yet complete. The next one tells their end.
CREATE TABLE still_open (
    -- 'participant', 'broadcast' or 'recording'
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    room TEXT NOT NULL,
    since_ms BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);
