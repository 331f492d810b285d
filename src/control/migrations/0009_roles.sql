-- What a producer made of somebody in a room, whatever their token says.
CREATE TABLE roles (
    room TEXT NOT NULL,
    identity TEXT NOT NULL,
    role TEXT NOT NULL,
    set_ms BIGINT NOT NULL,
    PRIMARY KEY (room, identity)
);
