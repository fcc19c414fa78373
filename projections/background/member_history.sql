-- Who was in which group, directly, and when. Ids alone, as the log has them: whom a group awaited is not here.

CREATE TABLE member_history (
    tenant_id uuid NOT NULL,
    group_id uuid NOT NULL,
    member_id uuid NOT NULL,
    -- The event that made somebody a member, and the one that ended it; NULL: a member still.
    from_seq bigint NOT NULL,
    to_seq bigint NULL,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz NULL,
    -- User or Group.
    type text NOT NULL,

    -- Lists the members of a group as of a seq, page by page, and finds the row that an event ends.
    PRIMARY KEY (tenant_id, group_id, member_id, from_seq)
) WITH (fillfactor = 90);

-- Finds the groups that somebody was in.
CREATE INDEX member_history_by_member ON member_history (tenant_id, member_id, group_id, from_seq);
-- Finds the groups within a group, among however many people.
CREATE INDEX member_history_of_groups ON member_history (tenant_id, group_id, member_id) WHERE type = 'Group';

-- What a group was called, from an event on.
CREATE TABLE group_names (
    tenant_id uuid NOT NULL,
    group_id uuid NOT NULL,
    from_seq bigint NOT NULL,
    name text NOT NULL,

    -- Finds the name as of a seq.
    PRIMARY KEY (tenant_id, group_id, from_seq)
);

GRANT SELECT, INSERT, UPDATE ON member_history, group_names TO rollbook_service;
