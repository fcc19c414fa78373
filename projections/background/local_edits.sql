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
    -- The event that ended it, and the value that it put in its place; NULL while it stands.
    ended_seq bigint NULL,
    ended_at timestamptz NULL,
    replaced_by jsonb NULL,

    -- Finds the edits that an event ends, for it names them by their version.
    PRIMARY KEY (tenant_id, user_id, version, attribute)
) WITH (fillfactor = 90);

-- Finds the edits of a period in their order.
CREATE INDEX local_edits_by_seq ON local_edits (tenant_id, seq, attribute);
-- Finds what stands, among all that no longer does.
CREATE INDEX local_edits_standing ON local_edits (tenant_id, seq, attribute) WHERE fate = 'standing';

GRANT SELECT, INSERT, UPDATE, DELETE ON local_edits TO rollbook_service;
