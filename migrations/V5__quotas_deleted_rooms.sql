-- What one user keeps is summed up at each announcement, where there is a quota.
CREATE INDEX uploads_owner ON uploads (owner);

-- Deleted rooms whose messages are still to be removed, up to an id.
CREATE TABLE deleted_rooms (
    room  bigint PRIMARY KEY,
    up_to bigint NOT NULL
);
