-- The current people: one row each, equal to the fold of its stream at all times. Commands are decided from it.

CREATE TABLE users (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    -- Of the last event in the stream; the ETag.
    version int NOT NULL,
    -- What the directory matches by, in the form that is compared (folded case, but for externalId).
    user_name text NOT NULL,
    microsoft_id text NULL,
    external_id text NULL,
    employee_number text NULL,
    work_email text NULL,
    -- Whether there are more work addresses than the one in work_email. Hardly anybody has them.
    has_more_work_emails boolean NOT NULL,
    active boolean NOT NULL,
    -- In force.
    role text NOT NULL,
    -- Values by leaf, as they were sent: {"title": "Engineer", "name.formatted": "Ada Lovelace", "emails": […]}
    attributes jsonb NOT NULL,
    -- Who set each leaf's value, in which version: {"title": {"source": "directory", "version": 3}}
    origins jsonb NOT NULL,
    prefixes text[] NOT NULL,
    is_deleted boolean NOT NULL,
    created_at timestamptz NOT NULL,
    modified_at timestamptz NOT NULL,
    deleted_at timestamptz NULL,
    -- The role of the person's own, where a group gives the one in force.
    own_role text NULL,

    -- Also lists people in the order of their creation: ids are of RFC 9562's version 7.
    PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 85);

-- No plan depends on what is in these, and to look at it is most of the cost of ANALYZE.
ALTER TABLE users
    ALTER attributes SET STATISTICS 0,
    ALTER origins SET STATISTICS 0;

-- Two rules, each with the look-up of the directory's matching query.
CREATE UNIQUE INDEX user_name_is_free ON users (tenant_id, user_name) WHERE NOT is_deleted;
CREATE UNIQUE INDEX microsoft_id_is_free ON users (tenant_id, microsoft_id)
    WHERE NOT is_deleted AND microsoft_id IS NOT NULL;

-- The other attributes that directories match by.
CREATE INDEX users_by_external_id ON users (tenant_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX users_by_employee_number ON users (tenant_id, employee_number) WHERE employee_number IS NOT NULL;
CREATE INDEX users_by_work_email ON users (tenant_id, work_email) WHERE work_email IS NOT NULL;
CREATE INDEX users_with_more_work_emails ON users (tenant_id) WHERE has_more_work_emails;

-- Called by the append, and by replay with times of the past.
CREATE FUNCTION put_users(of_tenant uuid, at timestamptz, rows jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO users AS known
    SELECT
        of_tenant,
        given.id,
        given.version,
        given.user_name,
        given.microsoft_id,
        given.external_id,
        given.employee_number,
        given.work_email,
        given.has_more_work_emails,
        given.active,
        given.role,
        given.attributes,
        given.origins,
        given.prefixes,
        given.is_deleted,
        coalesce(given.created_at, at),
        coalesce(given.modified_at, at),
        CASE WHEN given.is_deleted THEN coalesce(given.deleted_at, at) END,
        given.own_role
    FROM jsonb_to_recordset(rows) AS given(
        id uuid,
        version int,
        user_name text,
        microsoft_id text,
        external_id text,
        employee_number text,
        work_email text,
        has_more_work_emails boolean,
        active boolean,
        role text,
        own_role text,
        attributes jsonb,
        origins jsonb,
        prefixes text[],
        is_deleted boolean,
        created_at timestamptz,
        modified_at timestamptz,
        deleted_at timestamptz
    )
    ON CONFLICT (tenant_id, id) DO UPDATE SET
        version = excluded.version,
        user_name = excluded.user_name,
        microsoft_id = excluded.microsoft_id,
        external_id = excluded.external_id,
        employee_number = excluded.employee_number,
        work_email = excluded.work_email,
        has_more_work_emails = excluded.has_more_work_emails,
        active = excluded.active,
        role = excluded.role,
        own_role = excluded.own_role,
        attributes = excluded.attributes,
        origins = excluded.origins,
        prefixes = excluded.prefixes,
        is_deleted = excluded.is_deleted,
        modified_at = excluded.modified_at,
        deleted_at = excluded.deleted_at;
END
$$;

GRANT SELECT ON users TO rollbook_service;
