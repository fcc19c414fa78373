-- Erasure of personal data (GDPR article 17): the one way in which anything of the log can be emptied.

-- The texts by which a person is known, ever, in lower case: what names the person wherever it stands.
CREATE FUNCTION names_of(of_tenant uuid, person uuid) RETURNS text[]
LANGUAGE sql
STABLE
SET search_path = rollbook, pg_temp
AS $$
    WITH given AS (
        SELECT attribute.key, attribute.value
        FROM events
        CROSS JOIN LATERAL json_each(data -> 'attributes') AS attribute
        WHERE tenant_id = of_tenant AND stream_id = person AND type = 'UserProvisioned'
        UNION ALL
        SELECT change.key, side.value
        FROM events
        CROSS JOIN LATERAL json_each(data -> 'changes') AS change
        CROSS JOIN LATERAL json_each(change.value) AS side
        WHERE tenant_id = of_tenant AND stream_id = person AND type = 'AttributesChanged'
    ), known AS (
        SELECT value #>> '{}' AS name
        FROM given
        WHERE key IN ('userName', 'externalId', 'microsoftId', 'displayName', 'nickName', 'name.formatted')
            AND json_typeof(value) = 'string'
        UNION
        SELECT element ->> 'value'
        FROM given
        CROSS JOIN LATERAL json_array_elements(CASE json_typeof(value) WHEN 'array' THEN value ELSE '[]' END) AS element
        WHERE key IN ('emails', 'phoneNumbers', 'ims')
    )
    SELECT coalesce(array_agg(DISTINCT lower(name)), '{}')
    FROM known
    WHERE name <> ''
$$;

-- Whether a text holds one of the names, as words of its own: Man is not in Manual. Numbers, and what has fewer than
-- three characters, must be the whole text.
CREATE FUNCTION mentions(content text, names text[]) RETURNS boolean
LANGUAGE sql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT
        FROM unnest(names) AS name
        WHERE CASE
            WHEN length(name) < 3 OR name ~ '^[0-9]+$' THEN lower(content) = name
            ELSE strpos(lower(content), name) > 0
                AND lower(content) ~ (
                    '(^|[^[:alnum:]])' || regexp_replace(name, '([^[:alnum:][:space:]])', '\\\1', 'g')
                    || '([^[:alnum:]]|$)'
                )
        END
    )
$$;

-- The events of the tenant's own stream that name a person, behind a seq: what was refused, asked or exported, and tokens
-- that were named after the person.
CREATE FUNCTION notes_about(of_tenant uuid, person uuid, names text[], after_seq bigint)
RETURNS TABLE (seq bigint, type text, token_id uuid)
LANGUAGE sql
STABLE
SET search_path = rollbook, pg_temp
AS $$
    SELECT events.seq, events.type, (data ->> 'token_id')::uuid
    FROM events
    WHERE tenant_id = of_tenant
        AND stream_id = of_tenant
        AND events.type IN ('RequestRefused', 'AuditAccessed', 'EvidenceExported', 'TokenIssued', 'TokenRevoked')
        AND events.seq > after_seq
        AND data IS NOT NULL
        AND (
            (events.type = 'RequestRefused' AND data ->> 'user_id' = person::text)
            OR EXISTS (
                SELECT
                FROM (
                    SELECT value FROM json_each_text(data) WHERE key NOT IN ('subject', 'parameters', 'digest')
                    UNION ALL
                    SELECT value FROM json_each_text(data -> 'subject')
                    UNION ALL
                    SELECT value FROM json_each_text(data -> 'parameters')
                ) AS content
                WHERE mentions(content.value, names)
            )
        )
$$;

-- Which seats an event of the person took (1), freed (-1), or did not touch (0), by role.
CREATE FUNCTION seats_moved(type text, data json) RETURNS json
LANGUAGE sql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE type
        WHEN 'UserProvisioned' THEN json_build_object(data ->> 'role', (data ->> 'active')::boolean::int)
        WHEN 'RoleAssigned' THEN json_build_object(
            data ->> 'from', -(data ->> 'active')::boolean::int, data ->> 'to', (data ->> 'active')::boolean::int
        )
        WHEN 'Deactivated' THEN json_build_object(data ->> 'role', -1)
        WHEN 'Reactivated' THEN json_build_object(data ->> 'role', 1)
        WHEN 'UserDeleted' THEN json_build_object(data ->> 'role', -(data ->> 'active')::boolean::int)
    END
$$;

-- Erases the personal data of one person: empties the events of the person, and those of the tenant that name the
-- person; takes the person out of every projection; and records that it was done. All or nothing, and only once.
--
-- The search for names is done before the head is locked, and again only for what came since. What is erased is found
-- here and nowhere else, so that whoever may call this can erase a person, and nothing else.
CREATE FUNCTION erase(
    of_tenant uuid, person uuid, by_source text, by_actor text, by_token uuid, by_request uuid, by_basis text
) RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = rollbook, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    names text[];
    looked_up_to bigint;
    mentioned bigint[];
    last_version int;
    known users;
    held jsonb;
    erasure json;
BEGIN
    IF person = of_tenant THEN
        RETURN;
    END IF;
    names := names_of(of_tenant, person);
    SELECT heads.seq INTO looked_up_to FROM heads WHERE tenant_id = of_tenant;
    SELECT array_agg(seq) INTO mentioned FROM notes_about(of_tenant, person, names, 0);

    PERFORM FROM heads WHERE tenant_id = of_tenant FOR NO KEY UPDATE;
    SELECT * INTO known FROM users WHERE tenant_id = of_tenant AND id = person;
    SELECT max(version) INTO last_version FROM events WHERE tenant_id = of_tenant AND stream_id = person;
    IF known.id IS NULL OR last_version IS NULL THEN
        RETURN;  -- nobody, or erased already
    END IF;
    names := names_of(of_tenant, person);  -- a name may have come since
    SELECT array_agg(DISTINCT seq ORDER BY seq) INTO mentioned
    FROM (
        SELECT unnest(mentioned) AS seq
        UNION ALL
        SELECT seq FROM notes_about(of_tenant, person, names, looked_up_to)
    ) AS both_looks;

    PERFORM FROM tokens
    JOIN events ON events.tenant_id = of_tenant AND events.seq = ANY (mentioned) AND events.type = 'TokenIssued'
        AND events.data ->> 'token_id' = tokens.id::text
    WHERE tokens.tenant_id = of_tenant AND tokens.revoked_at IS NULL AND tokens.expires_at > clock_timestamp();
    IF FOUND THEN
        RAISE EXCEPTION 'a valid token is named after the person'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'no_valid_token_names_the_person';
    END IF;

    SELECT json_build_object(
        'type', 'PersonalDataErased',
        'events', last_version,
        'notes', coalesce(array_to_json(mentioned), '[]'),
        'seats', coalesce(
            json_object_agg(moved.version, moved.seats ORDER BY moved.version) FILTER (WHERE moved.seats IS NOT NULL),
            '{}'
        ),
        'basis', by_basis
    )
    INTO erasure
    FROM (
        SELECT version, seats_moved(events.type, events.data) AS seats
        FROM events
        WHERE tenant_id = of_tenant AND stream_id = person
        UNION ALL
        SELECT last_version + 1, json_build_object(known.role, -1) WHERE known.active
    ) AS moved;
    held := jsonb_build_array(jsonb_build_object(
        'role', known.role,
        'active', -known.active::int,
        'inactive', -(NOT known.active AND NOT known.is_deleted)::int,
        'deleted', -known.is_deleted::int,
        'taken', 0
    ));
    PERFORM append(
        of_tenant, ARRAY[person], ARRAY[last_version + 1], ARRAY['PersonalDataErased'], ARRAY[by_source], ARRAY[by_actor],
        ARRAY[by_token], ARRAY[by_request], ARRAY[erasure::text],
        ARRAY[sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))],
        jsonb_build_object('seats', held)
    );

    DELETE FROM tokens
    USING events
    WHERE tokens.tenant_id = of_tenant
        AND events.tenant_id = of_tenant
        AND events.seq = ANY (mentioned)
        AND events.type = 'TokenIssued'
        AND events.data ->> 'token_id' = tokens.id::text;
    UPDATE events SET data = NULL, salt = NULL
    WHERE tenant_id = of_tenant AND stream_id = person AND version <= last_version;
    UPDATE events SET data = NULL, salt = NULL
    WHERE tenant_id = of_tenant AND stream_id = of_tenant AND seq = ANY (mentioned);

    -- The rows of the person wherever there are any; followers that had read the events before delete theirs again when
    -- they come to this event.
    DELETE FROM users WHERE tenant_id = of_tenant AND id = person;
    DELETE FROM history WHERE tenant_id = of_tenant AND user_id = person;
    DELETE FROM request_log WHERE tenant_id = of_tenant AND user_id = person;
END
$$;

REVOKE ALL ON FUNCTION erase, names_of, mentions, notes_about, seats_moved FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase TO rollbook_service;
