-- What the append asks of roles that groups give. Nothing is kept here: who is in which group stands in members, what
-- groups are mapped to in the settings of the tenant, and the role in force in users.
--
-- How many people it will be is not known to the planner, which might rather read all that there are: so each is looked
-- up by a subquery of its own, with a LIMIT or an OFFSET. And nothing is compiled for it, which would take longer.

-- The people among these ids, and those within the groups among them, at whatever depth.
CREATE FUNCTION people_among(of_tenant uuid, ids uuid[]) RETURNS SETOF uuid
ROWS 100
LANGUAGE sql
STABLE
SET search_path = rollbook, pg_temp
SET jit = off
AS $$
    WITH RECURSIVE among AS (
        SELECT id FROM unnest(ids) AS given(id)
        UNION
        SELECT within.member_id
        FROM among
        CROSS JOIN LATERAL (
            SELECT member_id
            FROM members
            WHERE tenant_id = of_tenant AND members.group_id = among.id AND members.type IS NOT NULL
            OFFSET 0
        ) AS within
    )
    SELECT person.id
    FROM among
    CROSS JOIN LATERAL (
        SELECT users.id FROM users WHERE tenant_id = of_tenant AND users.id = among.id AND NOT is_deleted LIMIT 1
    ) AS person
$$;

-- Which of some groups people are in, directly or not, once `changes`, rows as put_members takes them, have been made.
-- NOT IN, whose list is made once, as there may be as many changes as people.
CREATE FUNCTION groups_after(of_tenant uuid, people uuid[], wanted uuid[], changes jsonb)
    RETURNS TABLE (user_id uuid, group_id uuid)
LANGUAGE sql
STABLE
SET search_path = rollbook, pg_temp
SET jit = off
AS $$
    WITH RECURSIVE change AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(changes) AS given(group_id uuid, member_id uuid, type text, is_gone boolean)
    ),
    gone AS MATERIALIZED (SELECT group_id, member_id FROM change WHERE is_gone AND member_id IS NOT NULL),
    emptied AS MATERIALIZED (SELECT group_id FROM change WHERE is_gone AND member_id IS NULL),
    nested AS MATERIALIZED (SELECT group_id, member_id FROM change WHERE NOT is_gone AND type = 'Group'),
    within AS (
        (
            SELECT person.id AS user_id, directly.group_id
            FROM unnest(people) AS person(id)
            CROSS JOIN LATERAL (
                SELECT members.group_id
                FROM members
                WHERE members.tenant_id = of_tenant
                    AND members.member_id = person.id
                    AND (members.group_id, members.member_id) NOT IN (SELECT group_id, member_id FROM gone)
                    AND members.group_id NOT IN (SELECT group_id FROM emptied)
                OFFSET 0
            ) AS directly
            UNION
            SELECT change.member_id, change.group_id
            FROM change
            JOIN unnest(people) AS person(id) ON person.id = change.member_id
            WHERE NOT change.is_gone
        )
        UNION
        SELECT within.user_id, above.group_id
        FROM within
        CROSS JOIN LATERAL (
            SELECT members.group_id
            FROM members
            WHERE members.tenant_id = of_tenant
                AND members.member_id = within.group_id
                AND (members.group_id, members.member_id) NOT IN (SELECT group_id, member_id FROM gone)
                AND members.group_id NOT IN (SELECT group_id FROM emptied)
            UNION ALL
            SELECT nested.group_id FROM nested WHERE nested.member_id = within.group_id
        ) AS above
    )
    SELECT within.user_id, within.group_id FROM within WHERE within.group_id = ANY (wanted)
$$;

-- Called by the append after everything else: that those whose groups or whose role it changed have the role that they
-- should, the highest of their own and of what their groups give. Others may have changed the groups around them since
-- it was decided; then it is decided afresh. Whom the append does not concern is not looked at: so a mapping may come
-- into effect for many people bit by bit.
CREATE FUNCTION keep_roles(of_tenant uuid, member_rows jsonb, role_rows jsonb) RETURNS void
LANGUAGE plpgsql
SET jit = off
AS $$
DECLARE
    known tenants;
    people uuid[];
BEGIN
    SELECT * INTO known FROM tenants WHERE tenant_id = of_tenant;
    IF coalesce(jsonb_array_length(known.settings -> 'role_groups'), 0) = 0 THEN
        RETURN;
    END IF;
    SELECT array_agg(person) INTO people
    FROM people_among(
        of_tenant,
        ARRAY(
            SELECT member_id FROM jsonb_to_recordset(member_rows) AS given(member_id uuid) WHERE member_id IS NOT NULL
            UNION
            SELECT user_id FROM jsonb_to_recordset(role_rows) AS given(user_id uuid)
        )
    ) AS person;
    PERFORM
    FROM (
        WITH rank AS MATERIALIZED (
            SELECT role ->> 'value' AS role, place
            FROM jsonb_array_elements(known.settings -> 'roles') WITH ORDINALITY AS listed(role, place)
        ),
        mapped AS MATERIALIZED (
            SELECT (each ->> 'group')::uuid AS group_id, rank.place
            FROM jsonb_array_elements(known.settings -> 'role_groups') AS each
            JOIN rank ON rank.role = each ->> 'role'
        ),
        given AS MATERIALIZED (
            SELECT found.user_id, min(mapped.place) AS place
            FROM groups_after(of_tenant, people, ARRAY(SELECT group_id FROM mapped), '[]') AS found
            JOIN mapped ON mapped.group_id = found.group_id
            GROUP BY found.user_id
        )
        SELECT in_force.place AS is_at, least(given.place, own.place) AS should_be_at
        FROM unnest(people) AS person(id)
        CROSS JOIN LATERAL (
            SELECT role, own_role FROM users WHERE tenant_id = of_tenant AND users.id = person.id LIMIT 1
        ) AS holder
        LEFT JOIN rank AS in_force ON in_force.role = holder.role
        LEFT JOIN rank AS own ON own.role = coalesce(holder.own_role, holder.role)
        LEFT JOIN given ON given.user_id = person.id
    ) AS checked
    WHERE is_at IS DISTINCT FROM should_be_at;
    IF FOUND THEN
        RAISE EXCEPTION 'the groups of somebody have changed'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'roles_are_as_decided';
    END IF;
END
$$;

REVOKE ALL ON FUNCTION keep_roles FROM PUBLIC;
