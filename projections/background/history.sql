-- Who was what and when: each state that a user was ever in, with the time and the part of the log in which it held.

CREATE TABLE history (
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    -- The event that began the state, and the one that ended it; NULL: it still holds.
    valid_from_seq bigint NOT NULL,
    valid_to_seq bigint NULL,
    -- When these were recorded. A state that ended in the same append as it began has the same time twice.
    valid_from timestamptz NOT NULL,
    valid_to timestamptz NULL,
    -- As in users.
    version int NOT NULL,
    active boolean NOT NULL,
    role text NOT NULL,
    attributes jsonb NOT NULL,
    origins jsonb NOT NULL,
    prefixes text[] NOT NULL,
    is_deleted boolean NOT NULL,
    created_at timestamptz NOT NULL,
    deleted_at timestamptz NULL,
    -- The event that gave the role.
    granted_seq bigint NOT NULL,
    own_role text NULL,  -- as in users

    -- Finds the state as of a seq: the last one that began at it or before.
    PRIMARY KEY (tenant_id, user_id, valid_from_seq)
) WITH (fillfactor = 90);

-- As in users: no plan depends on what is in these.
ALTER TABLE history
    ALTER attributes SET STATISTICS 0,
    ALTER origins SET STATISTICS 0;

-- Finds the state as of a time in the same way.
CREATE INDEX history_by_time ON history (tenant_id, user_id, valid_from, valid_from_seq);

-- Finds who ever had a role, however rare, and how a role ended: by another one, or by deletion.
CREATE INDEX history_by_role ON history (tenant_id, role, user_id, valid_from_seq) WHERE granted_seq = valid_from_seq;
CREATE INDEX history_of_roles ON history (tenant_id, user_id, valid_from_seq)
    WHERE granted_seq = valid_from_seq OR is_deleted;

-- Rows are deleted when a person's data are erased.
GRANT SELECT, INSERT, UPDATE, DELETE ON history TO rollbook_service;
