-- Who is in which group: one row for each member of each group.

CREATE TABLE members (
    tenant_id uuid NOT NULL,
    group_id uuid NOT NULL,
    -- The user or the group; or an id that stands for somebody who has not arrived yet.
    member_id uuid NOT NULL,
    -- User, Group; NULL: not arrived yet.
    type text NULL,
    -- What the directory sent for whom has not arrived yet.
    value text NULL,

    -- Lists the members of a group.
    PRIMARY KEY (tenant_id, group_id, member_id),
    CONSTRAINT either_is_here_or_is_awaited CHECK ((type IS NULL) = (value IS NOT NULL))
);

-- Finds the groups that somebody is in.
CREATE INDEX members_by_member ON members (tenant_id, member_id, group_id);
-- Finds who waits for somebody who arrives, and whether a group waits already.
CREATE INDEX members_awaited ON members (tenant_id, lower(value), group_id) WHERE value IS NOT NULL;

-- Called by the append, and by replay. A row is a member to write, or to delete if it `is_gone`: all of the group if it
-- names none. No two rows are about the same member of the same group.
CREATE FUNCTION put_members(of_tenant uuid, at timestamptz, rows jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
    DELETE FROM members
    USING jsonb_to_recordset(rows) AS given(group_id uuid, member_id uuid, is_gone boolean)
    WHERE members.tenant_id = of_tenant
        AND members.group_id = given.group_id
        AND members.member_id = given.member_id
        AND given.is_gone;
    DELETE FROM members
    WHERE tenant_id = of_tenant
        AND group_id IN (
            SELECT given.group_id
            FROM jsonb_to_recordset(rows) AS given(group_id uuid, member_id uuid, is_gone boolean)
            WHERE given.is_gone AND given.member_id IS NULL
        );
    INSERT INTO members
    SELECT of_tenant, given.group_id, given.member_id, given.type, given.value
    FROM jsonb_to_recordset(rows) AS given(group_id uuid, member_id uuid, type text, value text, is_gone boolean)
    WHERE NOT given.is_gone
    ON CONFLICT (tenant_id, group_id, member_id) DO UPDATE SET type = excluded.type, value = excluded.value;
END
$$;

GRANT SELECT ON members TO rollbook_service;
