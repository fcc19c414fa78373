-- The current groups: one row each, equal to the fold of its stream, without the members.

CREATE TABLE groups (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    -- Of the last event in the stream; the ETag.
    version int NOT NULL,
    -- What the directory matches by: without regard to case, and exactly.
    display_name text NOT NULL,
    external_id text NULL,
    -- Values by leaf, as they were sent: {"displayName": "Engineers"}
    attributes jsonb NOT NULL,
    is_deleted boolean NOT NULL,
    created_at timestamptz NOT NULL,
    modified_at timestamptz NOT NULL,
    deleted_at timestamptz NULL,

    -- Also lists groups in the order of their creation: ids are of RFC 9562's version 7.
    PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 50);  -- each change of the members updates the row in place (HOT)

-- What directories match by. Two departments may each have their "Managers" (RFC 7643 §4.2); but a group of the
-- directory is one group here, also when a creation is sent again.
CREATE INDEX groups_by_display_name ON groups (tenant_id, display_name) WHERE NOT is_deleted;
CREATE UNIQUE INDEX external_id_is_free ON groups (tenant_id, external_id)
    WHERE NOT is_deleted AND external_id IS NOT NULL;

-- Called by the append, and by replay with times of the past.
CREATE FUNCTION put_groups(of_tenant uuid, at timestamptz, rows jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO groups AS known
    SELECT
        of_tenant,
        given.id,
        given.version,
        given.display_name,
        given.external_id,
        given.attributes,
        given.is_deleted,
        coalesce(given.created_at, at),
        coalesce(given.modified_at, at),
        CASE WHEN given.is_deleted THEN coalesce(given.deleted_at, at) END
    FROM jsonb_to_recordset(rows) AS given(
        id uuid,
        version int,
        display_name text,
        external_id text,
        attributes jsonb,
        is_deleted boolean,
        created_at timestamptz,
        modified_at timestamptz,
        deleted_at timestamptz
    )
    ON CONFLICT (tenant_id, id) DO UPDATE SET
        version = excluded.version,
        display_name = excluded.display_name,
        external_id = excluded.external_id,
        attributes = excluded.attributes,
        is_deleted = excluded.is_deleted,
        modified_at = excluded.modified_at,
        deleted_at = excluded.deleted_at;
END
$$;

GRANT SELECT ON groups TO rollbook_service;
