-- Who may not come back into a room, by the identity they are known by.
CREATE TABLE bans (
    room TEXT NOT NULL,
    identity TEXT NOT NULL,
    name TEXT NOT NULL,
    banned_ms BIGINT NOT NULL,
    PRIMARY KEY (room, identity)
);
