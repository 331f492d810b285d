-- Requests that are carried out once, by a hash of who sent them, their key and their path.
CREATE TABLE idempotency (
    id TEXT PRIMARY KEY,
    -- A hash of the body.
    asked TEXT NOT NULL,
    -- Sealed with what the client alone has; NULL while it is carried out.
    answer TEXT,
    at_ms BIGINT NOT NULL
);
CREATE INDEX idempotency_at ON idempotency (at_ms);
