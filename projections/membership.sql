-- The rules between groups, members and those who arrive or go. Each is kept under the head's lock, where nobody else
-- writes: so whoever decided by what was true a moment ago is told, and decides afresh.

-- Called by the append after put_members: that whom it added is there, that whom it awaits is not, and that no group is
-- within itself (RFC 7644 §3.7.1 refuses cycles with 409).
CREATE FUNCTION keep_members(of_tenant uuid, rows jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    -- Subqueries with a LIMIT, not EXISTS, which the planner might answer by reading all users of the tenant.
    PERFORM
    FROM jsonb_to_recordset(rows) AS given(member_id uuid, type text, value text, is_gone boolean)
    WHERE NOT given.is_gone
        AND CASE given.type
            WHEN 'User' THEN (
                SELECT true FROM users WHERE tenant_id = of_tenant AND id = given.member_id AND NOT is_deleted LIMIT 1
            ) IS NULL
            WHEN 'Group' THEN (
                SELECT true FROM groups WHERE tenant_id = of_tenant AND id = given.member_id AND NOT is_deleted LIMIT 1
            ) IS NULL
            ELSE (SELECT true FROM named_by(of_tenant, given.value) LIMIT 1)
        END;
    IF FOUND THEN
        RAISE EXCEPTION 'somebody came or went'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'members_are_as_decided';
    END IF;
    PERFORM
    FROM jsonb_to_recordset(rows) AS given(group_id uuid, member_id uuid, type text, is_gone boolean)
    WHERE NOT given.is_gone
        AND given.type = 'Group'
        AND given.group_id IN (
            WITH RECURSIVE within AS (
                SELECT given.member_id AS id
                UNION
                SELECT members.member_id
                FROM within
                JOIN members ON members.tenant_id = of_tenant AND members.group_id = within.id AND members.type = 'Group'
            )
            SELECT id FROM within
        );
    IF FOUND THEN
        RAISE EXCEPTION 'a group would be within itself'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'groups_have_no_cycle';
    END IF;
END
$$;

-- A text as an id, NULL if it is none. A CASE within a query would not do: PostgreSQL may look at its branches before.
CREATE FUNCTION as_uuid(value text) RETURNS uuid
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_input_is_valid(value, 'uuid') THEN
        RETURN value::uuid;
    END IF;
    RETURN NULL;
END
$$;

-- Whom the value of a member means: by id, by Microsoft's id, or by the id in the directory. The first of several.
CREATE FUNCTION named_by(of_tenant uuid, value text) RETURNS TABLE (id uuid, type text)
LANGUAGE sql
STABLE
SET search_path = rollbook, pg_temp
AS $$
    SELECT found.id, found.type
    FROM (
        SELECT 1 AS rank, users.id, 'User' AS type
        FROM users
        WHERE tenant_id = of_tenant
            AND users.id = as_uuid(value)
            AND NOT is_deleted
        UNION ALL
        SELECT 2, groups.id, 'Group'
        FROM groups
        WHERE tenant_id = of_tenant
            AND groups.id = as_uuid(value)
            AND NOT is_deleted
        UNION ALL
        SELECT 3, users.id, 'User'
        FROM users
        WHERE tenant_id = of_tenant AND microsoft_id = lower(value) AND NOT is_deleted
        UNION ALL
        SELECT 4, users.id, 'User'
        FROM users
        WHERE tenant_id = of_tenant AND external_id = value AND NOT is_deleted
        UNION ALL
        SELECT 5, groups.id, 'Group'
        FROM groups
        WHERE tenant_id = of_tenant AND external_id = value AND NOT is_deleted
    ) AS found
    ORDER BY rank, id
    LIMIT 1
$$;

-- Which groups await somebody who has these names: an externalId is exact, ids are folded.
CREATE FUNCTION awaiting(of_tenant uuid, exact text[], folded text[]) RETURNS TABLE (group_id uuid, member_id uuid)
LANGUAGE sql
STABLE
SET search_path = rollbook, pg_temp
AS $$
    SELECT members.group_id, members.member_id
    FROM members
    WHERE tenant_id = of_tenant
        AND lower(value) IN (SELECT lower(name) FROM unnest(exact || folded) AS name)
        AND (value = ANY (exact) OR lower(value) = ANY (folded))
$$;

-- Called by the append for those who arrived, got another name, or went, where groups are on: that nobody still waits
-- for whom is here, and that whom is gone is a member of nothing.
CREATE FUNCTION keep_ties(of_tenant uuid, rows jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM
    FROM jsonb_to_recordset(rows) AS given(exact text[], folded text[], gone uuid)
    WHERE (SELECT true FROM awaiting(of_tenant, given.exact, given.folded) LIMIT 1)
        OR (SELECT true FROM members WHERE tenant_id = of_tenant AND member_id = given.gone LIMIT 1);
    IF FOUND THEN
        RAISE EXCEPTION 'a group has another member by now'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'members_are_as_decided';
    END IF;
END
$$;

REVOKE ALL ON FUNCTION keep_members, keep_ties FROM PUBLIC;
