-- Every command that was carried out. Only ever added to.
CREATE TABLE audit (
    -- UUIDv7: in the order of time.
    id TEXT PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    identity TEXT,
    name TEXT,
    role TEXT,
    address TEXT,
    action TEXT NOT NULL,
    room TEXT,
    target TEXT,
    status BIGINT NOT NULL,
    -- As JSON.
    before TEXT,
    after TEXT
);
CREATE INDEX audit_of_room ON audit (room, id);
