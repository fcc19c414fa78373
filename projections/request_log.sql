-- What directories asked for: a row for each SCIM request whose tenant is known, kept for some months. No event and no
-- projection: most requests change nothing. Nothing in it is personal: ids, patterns and words of ours.

CREATE TABLE request_log (
    tenant_id uuid NOT NULL,
    -- When the request arrived, by the service's clock.
    at timestamptz NOT NULL,
    request_id uuid NOT NULL,
    -- The token that it came with, which may have been expired, revoked, or without the scope.
    token_id uuid NOT NULL,
    method text NOT NULL,
    -- The pattern of the address, never the address: that may hold a name.
    route text NOT NULL,
    status int NOT NULL,
    microseconds bigint NOT NULL,
    -- The person that the address names, or who was created.
    user_id uuid NULL,
    -- Why it was refused: the scimType, or else the kind.
    refusal text NULL,
    -- What was tolerated, in words of engine/quirks.py.
    quirks text[] NOT NULL,
    -- How many events it appended; the record of its own refusal is not counted.
    changes int NOT NULL,

    -- Also finds a period. A batch may be written twice, when a connection broke after the commit.
    PRIMARY KEY (tenant_id, at, request_id)
) PARTITION BY RANGE (at);

-- Finds what concerns one person, who may have to be erased from here.
CREATE INDEX request_log_by_user ON request_log (tenant_id, user_id, at) WHERE user_id IS NOT NULL;
-- Finds the refused among many that were not.
CREATE INDEX request_log_refused ON request_log (tenant_id, at, request_id) WHERE status >= 400;

-- Takes the rows of days that have no partition: the service's clock is wrong, or nobody made any for a week. So no row
-- is lost for that; ordinarily it is empty.
CREATE TABLE request_log_rest PARTITION OF request_log DEFAULT;

-- Makes the partitions of today and of the next seven days, those that are missing; returns how many.
--
-- SECURITY DEFINER: the service may neither create nor drop tables. Whoever calls it chooses nothing.
--
-- A partition is made beside the table and attached, which lets others go on reading and writing; creating it in its
-- place would not. Days are those of UTC.
CREATE FUNCTION prepare_request_log() RETURNS int
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = rollbook, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '2s'
AS $$
DECLARE
    day timestamptz;
    partition text;
    made int := 0;
BEGIN
    FOR day IN SELECT generate_series(current_date, current_date + 7, interval '1 day') LOOP
        partition := 'request_log_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(partition) IS NOT NULL;
        -- Whoever makes or drops partitions at the same time waits here, or is waited for: in this order, as prune does.
        LOCK TABLE ONLY request_log IN SHARE UPDATE EXCLUSIVE MODE;
        CONTINUE WHEN to_regclass(partition) IS NOT NULL;
        LOCK TABLE request_log_rest IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('CREATE TABLE %I (LIKE request_log INCLUDING ALL)', partition);
        EXECUTE format(
            'WITH moved AS (DELETE FROM request_log_rest WHERE at >= %L AND at < %L RETURNING *)
            INSERT INTO %I SELECT * FROM moved',
            day, day + interval '1 day', partition
        );
        EXECUTE format(
            'ALTER TABLE request_log ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            partition, day, day + interval '1 day'
        );
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

-- What was deleted of the request log because of its age: so that nobody has to guess whether there were no requests
-- on a day, or none are left.
CREATE TABLE prunes (
    tenant_id uuid NOT NULL,
    -- Of UTC.
    day date NOT NULL,
    pruned_at timestamptz NOT NULL,
    requests bigint NOT NULL,
    -- After how many days requests were deleted.
    keep_days int NOT NULL,
    -- `engine`: by itself, because of their age; `operator`: by `rollbook prune`.
    source text NOT NULL CONSTRAINT prune_source_is_known CHECK (source IN ('engine', 'operator')),
    -- As that of an event: the account of the machine that asked for it.
    actor text NOT NULL,

    -- A day is pruned twice if rows of it were found afterwards.
    PRIMARY KEY (tenant_id, day, pruned_at)
);

REVOKE ALL ON FUNCTION prepare_request_log FROM PUBLIC;
GRANT SELECT, INSERT ON request_log TO rollbook_service;
GRANT SELECT ON prunes TO rollbook_service;
GRANT EXECUTE ON FUNCTION prepare_request_log TO rollbook_service;
