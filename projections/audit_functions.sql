-- Questions of auditors that take a time. They read the views with the caller's rights, and so see what he sees.
--
-- Those in SQL are put into the caller's statement by the planner, with his conditions; so they have no settings of their
-- own, and every name in them is whole.

-- The last seq that was recorded before a moment, 0 if none was: by halving, for recorded_at never runs backwards.
CREATE FUNCTION audit.last_seq_before(of_tenant uuid, moment timestamptz) RETURNS bigint
LANGUAGE plpgsql
STABLE
PARALLEL SAFE
AS $$
DECLARE
    low bigint := 0;
    high bigint := coalesce((SELECT seq FROM audit.heads WHERE tenant_id = of_tenant), 0);
    middle bigint;
BEGIN
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        IF (SELECT recorded_at FROM audit.events WHERE tenant_id = of_tenant AND seq = middle) < moment THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$;

-- The events of a period, without looking at those before and after it.
CREATE FUNCTION audit.events_between(since timestamptz, until timestamptz) RETURNS SETOF audit.events
LANGUAGE sql
STABLE
PARALLEL SAFE
AS $$
    SELECT events.*
    FROM audit.heads
    CROSS JOIN LATERAL (
        SELECT
            audit.last_seq_before(heads.tenant_id, since) AS after_seq,
            audit.last_seq_before(heads.tenant_id, until) AS to_seq
        OFFSET 0  -- computed once a tenant, not once an event
    ) AS period
    JOIN audit.events ON events.tenant_id = heads.tenant_id AND events.seq > after_seq AND events.seq <= to_seq
$$;

-- Everybody as they were at a moment; what was recorded at that very time is included.
CREATE FUNCTION audit.people_as_of(moment timestamptz) RETURNS SETOF audit.history
LANGUAGE sql
STABLE
PARALLEL SAFE
AS $$
    SELECT *
    FROM audit.history
    WHERE valid_from <= moment AND (valid_to > moment OR valid_to IS NULL)
$$;

-- One person as of a moment; no row if there was nobody yet.
CREATE FUNCTION audit.person_as_of(person uuid, moment timestamptz) RETURNS SETOF audit.history
LANGUAGE sql
STABLE
PARALLEL SAFE
AS $$
    SELECT *
    FROM audit.history
    WHERE user_id = person AND valid_from <= moment AND (valid_to > moment OR valid_to IS NULL)
$$;

-- The seats of each tenant at a moment; no row if none was ever taken until then.
CREATE FUNCTION audit.seats_as_of(moment timestamptz) RETURNS SETOF audit.seats
LANGUAGE sql
STABLE
PARALLEL SAFE
AS $$
    SELECT last.*
    FROM audit.heads
    CROSS JOIN LATERAL (
        SELECT *
        FROM audit.seats
        WHERE seats.tenant_id = heads.tenant_id AND seats.recorded_at <= moment
        ORDER BY seats.recorded_at DESC, seats.seq DESC
        LIMIT 1
    ) AS last
$$;

-- Each person to whom something happened in a period, before it and at its end. What was recorded at `since` belongs to
-- the period, what was recorded at `until` does not.
CREATE FUNCTION audit.changes(since timestamptz, until timestamptz) RETURNS TABLE (
    tenant_id uuid,
    user_id uuid,
    user_name text,
    joined boolean,
    active_before boolean,
    active_after boolean,
    role_before text,
    role_after text,
    is_deleted_before boolean,
    is_deleted_after boolean,
    changes jsonb,
    first_seq bigint,
    last_seq bigint
)
LANGUAGE sql
STABLE
PARALLEL SAFE
AS $$
    SELECT
        touched.tenant_id,
        touched.user_id,
        after.user_name,
        before.user_id IS NULL,
        before.active,
        after.active,
        before.role,
        after.role,
        before.is_deleted,
        after.is_deleted,
        coalesce(differing.changes, '{}'),
        touched.first_seq,
        touched.last_seq
    FROM (
        SELECT
            history.tenant_id,
            history.user_id,
            min(history.valid_from_seq) AS first_seq,
            max(history.valid_from_seq) AS last_seq
        FROM audit.history
        WHERE history.valid_from >= since AND history.valid_from < until
        GROUP BY history.tenant_id, history.user_id
    ) AS touched
    JOIN audit.history AS after
        ON after.tenant_id = touched.tenant_id
        AND after.user_id = touched.user_id
        AND after.valid_from_seq = touched.last_seq
    LEFT JOIN audit.history AS before
        ON before.tenant_id = touched.tenant_id
        AND before.user_id = touched.user_id
        AND before.valid_to_seq = touched.first_seq
    CROSS JOIN LATERAL (
        SELECT jsonb_object_agg(key, jsonb_build_object('from', old.value, 'to', new.value)) AS changes
        FROM jsonb_each(before.attributes) AS old
        FULL JOIN jsonb_each(after.attributes) AS new USING (key)
        WHERE old.value IS DISTINCT FROM new.value AND key <> 'role'
    ) AS differing
$$;
