-- Search, rooms that keep messages for less time than the others, and users who want theirs erased.

-- Growing with every message it cost the batch writer nine tenths of its speed. Months that are over get one of their own.
DROP INDEX messages_search;

-- A room may exist by its messages alone, hence no reference.
CREATE TABLE room_retention (
    room bigint  PRIMARY KEY,
    days integer NOT NULL CHECK (days > 0)
);

CREATE TABLE erasures (
    user_id   bigint PRIMARY KEY,
    -- Every message of the user up to this id.
    up_to     bigint NOT NULL,
    wished_at bigint NOT NULL,
    done_at   bigint
);

-- What refers to the messages of a month is removed with it.
CREATE INDEX reactions_msg ON reactions (msg);
CREATE INDEX upload_uses_msg ON upload_uses (msg);
