-- Uploaded files. The bytes are in the store of HUBBUB_UPLOADS_URL, under the id.

CREATE TABLE uploads (
    -- Random: whoever is logged in and knows it may read the file.
    id           bigint PRIMARY KEY,
    -- Perhaps a user of another application's tokens, hence no reference.
    owner        bigint NOT NULL,
    file_name    text   NOT NULL,
    content_type text   NOT NULL,
    size         bigint NOT NULL,
    state        text   NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'complete')),
    created_at   bigint NOT NULL
);
CREATE INDEX uploads_created_at ON uploads (created_at);

-- Which messages name an upload; written by the persister in the same transaction as the messages.
CREATE TABLE upload_uses (
    upload bigint NOT NULL,
    room   bigint NOT NULL,
    msg    bigint NOT NULL,
    PRIMARY KEY (upload, room, msg)
);
CREATE INDEX upload_uses_message ON upload_uses (room, msg);
