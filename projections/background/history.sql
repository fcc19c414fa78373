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

-- Everybody as the last state has it, in the few words by which people are listed and searched. A copy of the last row
-- of each person above, small enough that a list of a million is read in any order from an index.
CREATE TABLE people (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    user_name text NOT NULL,
    -- What the person is called, and its form for sorting: folded, and cut where an index could not take more.
    name text NOT NULL,
    sort_name text COLLATE "C" NOT NULL,
    -- Every name, address and id, whole and in its words, folded, each behind its tenant; a search asks for beginnings.
    words tsvector NOT NULL,
    active boolean NOT NULL,
    role text NOT NULL,
    is_deleted boolean NOT NULL,
    -- Whether a present value is of a local edit.
    is_edited boolean NOT NULL,
    created_at timestamptz NOT NULL,
    modified_at timestamptz NOT NULL,

    PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 90);

-- The list in its usual order, and by the last change.
CREATE INDEX people_by_name ON people (tenant_id, sort_name, id);
CREATE INDEX people_by_change ON people (tenant_id, modified_at, id);
-- What may be little among much.
CREATE INDEX people_by_role ON people (tenant_id, role, sort_name, id) WHERE NOT is_deleted;
CREATE INDEX people_inactive ON people (tenant_id, sort_name, id) WHERE NOT active AND NOT is_deleted;
CREATE INDEX people_deleted ON people (tenant_id, sort_name, id) WHERE is_deleted;
CREATE INDEX people_edited ON people (tenant_id, sort_name, id) WHERE is_edited;
-- Finds words by their beginning. Without a list of what is yet to be sorted in: who follows the log has the time.
CREATE INDEX people_by_word ON people USING gin (words) WITH (fastupdate = off);

GRANT SELECT, INSERT, UPDATE, DELETE ON people TO rollbook_service;
