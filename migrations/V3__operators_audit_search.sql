-- Operators, banned users, an audit log that is only ever added to, and full-text search.

ALTER TABLE users
    ADD COLUMN is_operator boolean NOT NULL DEFAULT false,
    -- When they were banned; NULL: they are not.
    ADD COLUMN banned_at   bigint;

-- The id of the request, to be found again in the logs.
ALTER TABLE audit_log ADD COLUMN request text NOT NULL DEFAULT '';
CREATE INDEX audit_log_actor ON audit_log (actor, id);
CREATE INDEX audit_log_action ON audit_log (action, id);

-- Against our own mistakes and a stolen password of our role; not against who owns the table.
CREATE FUNCTION audit_log_is_only_added_to() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only ever added to';
END
$$;
CREATE TRIGGER audit_log_is_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_only_added_to();

-- Who is banned from a room is no member of it.
UPDATE rooms SET members = (
    SELECT count(*) FROM room_members m WHERE m.room = rooms.id AND m.role <> 'banned');

-- `simple` knows no language, so that it fits each. Cut, because a tsvector holds no more than a megabyte.
CREATE INDEX messages_search ON messages USING gin (to_tsvector('simple', left(body, 65536)));
