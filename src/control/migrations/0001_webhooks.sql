-- Of types that SQLite and Postgres share. Times are milliseconds since 1970.

CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    secret TEXT NOT NULL,
    -- NULL: of all rooms.
    room TEXT,
    -- Types, as a JSON list; empty: all.
    events TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);

-- What at least one webhook wanted to hear of, in the order it happened.
CREATE TABLE events (
    number BIGINT PRIMARY KEY,
    id TEXT NOT NULL,
    room TEXT NOT NULL,
    type TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX events_at ON events (at_ms);

-- The outbox: what is not yet taken, and what was given up.
CREATE TABLE deliveries (
    webhook TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event BIGINT NOT NULL REFERENCES events (number),
    room TEXT NOT NULL,
    -- 'waiting' or 'dead'
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    -- When it was tried first; NULL before.
    first_ms BIGINT,
    due_ms BIGINT NOT NULL,
    -- Why it was not taken.
    error TEXT,
    PRIMARY KEY (webhook, event)
);
CREATE INDEX deliveries_in_order ON deliveries (webhook, state, room, event);
CREATE INDEX deliveries_event ON deliveries (event);
