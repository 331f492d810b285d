-- Rooms that were made by the API; others come to be by use, and go.
CREATE TABLE rooms (
    id TEXT PRIMARY KEY,
    -- As JSON.
    settings TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);
