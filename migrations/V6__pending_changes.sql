-- Changes in rooms that Redis has yet to hear of: whose memberships to write to the cache, and what to tell the room.
-- Noted in the transaction that makes the change, removed once it is carried out.
CREATE TABLE pending_changes (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room     bigint NOT NULL,
    users    bigint[] NOT NULL,
    -- An entry as it stands in streams, with one record; none where nobody has to be told.
    entry    bytea,
    noted_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX pending_changes_room ON pending_changes (room, id);
