-- Every local edit of a person, attribute by attribute, and what became of it.

CREATE TABLE local_edits (
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    -- The edit, by its place in the person's stream and in the tenant's log.
    version int NOT NULL,
    attribute text NOT NULL,
    seq bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- The value before and after; NULL where there was or is none.
    before jsonb NULL,
    after jsonb NULL,
    -- standing; overwritten or confirmed by the directory; edited again locally; or over, for the person was deleted.
    fate text NOT NULL CONSTRAINT fate_is_known CHECK (
        fate IN ('standing', 'overwritten', 'confirmed', 'edited again', 'person deleted')
    ),
    -- The event that ended it, by its places too, and the value that it put in its place; NULL while it stands.
    ended_seq bigint NULL,
    ended_at timestamptz NULL,
    ended_version int NULL,
    replaced_by jsonb NULL,

    -- Finds the edits that an event ends.
    PRIMARY KEY (tenant_id, user_id, version, attribute),
    CONSTRAINT only_what_is_over_has_an_end CHECK ((fate = 'standing') = (ended_seq IS NULL))
) WITH (fillfactor = 90);

-- Finds what became of a person's edits, and what stands of them before the next event.
CREATE INDEX local_edits_of_user ON local_edits (tenant_id, user_id, fate, seq, attribute);
-- Finds the edits of one fate in their order, among all others: what stands, or what was confirmed, may be little among
-- much. All edits are found in it fate by fate.
CREATE INDEX local_edits_by_fate ON local_edits (tenant_id, fate, seq, attribute);
-- The same for an attribute, however rare.
CREATE INDEX local_edits_by_attribute ON local_edits (tenant_id, attribute, fate, seq);
-- Finds what ended in a period, however long ago it was edited.
CREATE INDEX local_edits_by_end ON local_edits (tenant_id, fate, ended_seq, attribute) WHERE ended_seq IS NOT NULL;

GRANT SELECT, INSERT, UPDATE, DELETE ON local_edits TO rollbook_service;
