-- Tokens that are good until they are deleted.
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    -- SHA-256, as base64url.
    hash TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    room TEXT NOT NULL,
    role TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    -- NULL: never.
    expires_ms BIGINT
);
