-- The log: what happened, for ever, and the one way to add to it.
--
-- Applied by the owner of the store, in one transaction, with `rollbook` as the only schema on the search path.
-- What can be rebuilt from the log stands elsewhere (projections/*.sql).
--
-- Every key begins with tenant_id, every statement names one tenant, and nothing here is a trigger, a sequence or a
-- foreign key: so the tables can be distributed by tenant, and tenants never wait for each other.

-- Which store this is. One row.
CREATE TABLE store (
    -- Names of tenants are made into their ids with it (RFC 9562 §5.5), so that the same name in two stores is two ids.
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- The version of these tables. A program that knows only older ones refuses to start.
    version int NOT NULL,
    -- Seals the cursors of lists, so that every process reads what another one wrote.
    cursor_key bytea NOT NULL DEFAULT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
);

-- The end of each tenant's log. Its row is locked by every append until the commit: that is what makes a tenant's seq
-- gap-free and in the order of the commits, so that no reader can ever skip an event.
CREATE TABLE heads (
    tenant_id uuid CONSTRAINT tenant_is_registered_once PRIMARY KEY,
    seq bigint NOT NULL,
    recorded_at timestamptz NOT NULL
) WITH (fillfactor = 10);  -- one row a page or so: each append updates it in place (HOT)

CREATE TABLE events (
    tenant_id uuid NOT NULL,
    -- The place in the tenant's log: 1, 2, 3, … without a gap.
    seq bigint NOT NULL,
    -- The user, the group, or the tenant itself.
    stream_id uuid NOT NULL,
    -- The place in the stream: 1, 2, 3, … without a gap.
    version int NOT NULL,
    type text NOT NULL,
    -- By the database's clock, taken under the head's lock; never before that of the event before.
    recorded_at timestamptz NOT NULL,
    source text NOT NULL,
    -- The id of the token or person that asked; never a name or an address, for this column outlives an erasure.
    actor text NOT NULL,
    -- The token that the request came with. NULL: the command line, or the engine itself.
    token_id uuid NULL,
    request_id uuid NOT NULL,
    -- json, not jsonb: it keeps the bytes as they were written, and the digest is over these bytes.
    -- NULL, with salt: the personal data were erased; the digest stays.
    data json NULL,
    salt bytea NULL,
    digest bytea NOT NULL,

    CONSTRAINT seq_is_gap_free PRIMARY KEY (tenant_id, seq),
    -- The rule of optimistic concurrency. Also finds a stream's events in order.
    CONSTRAINT version_is_expected UNIQUE (tenant_id, stream_id, version),
    CONSTRAINT source_is_known CHECK (source IN ('directory', 'local', 'operator', 'engine')),
    CONSTRAINT erasure_is_whole CHECK ((data IS NULL) = (salt IS NULL)),
    CONSTRAINT digest_is_of_data CHECK (digest = sha256(salt || convert_to(data::text, 'UTF8')))
);

-- Finds the events of one type, however rare, without reading the others.
CREATE INDEX events_by_type ON events (tenant_id, type, seq);
-- Finds what people and operators did among all that the directory did.
CREATE INDEX events_not_of_the_directory ON events (tenant_id, source, seq) WHERE source <> 'directory';

-- Finds what one actor did, or one token, who may have done little among much.
CREATE INDEX events_by_actor ON events (tenant_id, actor, seq);
-- A token that acts in its own name is found as an actor.
CREATE INDEX events_by_token ON events (tenant_id, token_id, seq) WHERE actor <> token_id::text;
-- Find the refused writes that were about one person: by id, or by the userName of a body that named nobody else.
CREATE INDEX events_refused_for_user ON events (tenant_id, (data ->> 'user_id'), seq) WHERE type = 'RequestRefused';
CREATE INDEX events_refused_for_name ON events (tenant_id, lower(data -> 'subject' ->> 'userName'), seq)
    WHERE type = 'RequestRefused';

-- The last seq that was recorded before a moment, 0 if none was: by halving, for recorded_at never runs backwards.
CREATE FUNCTION last_seq_before(of_tenant uuid, moment timestamptz) RETURNS bigint
LANGUAGE plpgsql
STABLE
AS $$
DECLARE
    low bigint := 0;
    high bigint := coalesce((SELECT seq FROM rollbook.heads WHERE tenant_id = of_tenant), 0);
    middle bigint;
BEGIN
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        IF (SELECT recorded_at FROM rollbook.events WHERE tenant_id = of_tenant AND seq = middle) < moment THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$;

-- Adds the events of any number of streams of one tenant, with the rows of the inline projections: all or nothing.
--
-- The arrays hold one element for each event, in the order of the log. A version is the place in its stream that the
-- caller expects it to get; NULL takes the next one, where the order within the stream does not matter. `rows` holds,
-- by the name of each inline projection, the rows that its own function writes.
--
-- SECURITY DEFINER: it is the only way in which the service can write to the log, which makes the numbering, the time
-- and the digest the database's own, whatever the service does.
CREATE OR REPLACE FUNCTION append(
    of_tenant uuid,
    streams uuid[],
    versions int[],
    types text[],
    sources text[],
    actors text[],
    tokens uuid[],
    requests uuid[],
    datas text[],
    salts bytea[],
    rows jsonb,
    OUT first_seq bigint,
    OUT at timestamptz
)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = rollbook, pg_temp
AS $$
DECLARE
    head heads;
    last_version int;
BEGIN
    SELECT * INTO head FROM heads WHERE tenant_id = of_tenant FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        IF types[1] IS DISTINCT FROM 'TenantRegistered' THEN
            RAISE EXCEPTION 'there is no tenant %', of_tenant
                USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'tenant_is_registered';
        END IF;
        INSERT INTO heads VALUES (of_tenant, 0, '-infinity') RETURNING * INTO head;
    END IF;
    -- Whoever reads that a person was erased can rely on it: what the person's stream held is gone by then.
    IF 'PersonalDataErased' = ANY (types) AND (
        SELECT count(*) = 0 OR count(data) > 0
        FROM events
        WHERE tenant_id = of_tenant AND stream_id = ANY (streams)
    ) THEN
        RAISE EXCEPTION 'nothing was erased'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'what_is_erased_is_empty';
    END IF;
    -- A directory that goes on to send what it knows of the person must not bring it back by being refused.
    IF 'RequestRefused' = ANY (types) THEN
        PERFORM
        FROM unnest(types, datas) AS given(type, data)
        CROSS JOIN LATERAL (
            SELECT events.type
            FROM events
            WHERE tenant_id = of_tenant AND stream_id = (given.data::json ->> 'user_id')::uuid
            ORDER BY version DESC
            LIMIT 1
        ) AS last
        WHERE given.type = 'RequestRefused'
            AND last.type = 'PersonalDataErased'
            AND (given.data::json ->> 'detail' <> '' OR given.data::json ->> 'subject' IS NOT NULL);
        IF FOUND THEN
            RAISE EXCEPTION 'the person was erased'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'of_the_erased_nothing_is_told';
        END IF;
    END IF;
    first_seq := head.seq + 1;
    at := greatest(clock_timestamp(), head.recorded_at);

    FOR i IN 1 .. cardinality(types) LOOP
        SELECT max(version) INTO last_version FROM events WHERE tenant_id = of_tenant AND stream_id = streams[i];
        IF versions[i] <> coalesce(last_version, 0) + 1 THEN
            RAISE EXCEPTION 'stream % is at version %', streams[i], last_version
                USING ERRCODE = 'unique_violation', CONSTRAINT = 'version_is_expected';
        END IF;
        INSERT INTO events (
            tenant_id, seq, stream_id, version, type, recorded_at, source, actor, token_id, request_id,
            data, salt, digest
        )
        VALUES (
            of_tenant, head.seq + i, streams[i], coalesce(last_version, 0) + 1, types[i], at, sources[i], actors[i],
            tokens[i], requests[i], datas[i]::json, salts[i], sha256(salts[i] || convert_to(datas[i], 'UTF8'))
        );
    END LOOP;

    UPDATE heads SET seq = head.seq + cardinality(types), recorded_at = at WHERE tenant_id = of_tenant;

    IF rows ? 'users' THEN
        PERFORM put_users(of_tenant, at, rows -> 'users');
    END IF;
    IF rows ? 'seats' THEN
        PERFORM put_seats(of_tenant, at, rows -> 'seats');
        PERFORM keep_seat_limit(of_tenant, rows -> 'seats');
    END IF;
    IF rows ? 'groups' THEN
        PERFORM put_groups(of_tenant, at, rows -> 'groups');
    END IF;
    IF rows ? 'members' THEN
        PERFORM put_members(of_tenant, at, rows -> 'members');
        PERFORM keep_members(of_tenant, rows -> 'members');
    END IF;
    IF rows ? 'ties' THEN
        PERFORM keep_ties(of_tenant, rows -> 'ties');
    END IF;
    IF rows ? 'tenants' THEN
        PERFORM put_tenants(of_tenant, at, rows -> 'tenants');
    END IF;
    IF rows ? 'tokens' THEN
        PERFORM put_tokens(of_tenant, at, rows -> 'tokens');
    END IF;
    IF rows ?| ARRAY['members', 'roles'] THEN
        PERFORM keep_roles(of_tenant, coalesce(rows -> 'members', '[]'), coalesce(rows -> 'roles', '[]'));
    END IF;
END
$$;

-- What the service may do: read, and append. Not UPDATE, DELETE or TRUNCATE, and no INSERT past the append.
REVOKE ALL ON FUNCTION append FROM PUBLIC;
GRANT SELECT ON store, heads, events TO rollbook_service;
GRANT EXECUTE ON FUNCTION append TO rollbook_service;
