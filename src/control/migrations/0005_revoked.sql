-- Tokens that are not good any more, by their `jti`.
CREATE TABLE revoked (
    id TEXT PRIMARY KEY,
    revoked_ms BIGINT NOT NULL
);
