-- Erasure of personal data (GDPR article 17): the one way in which anything of the log can be emptied.

-- The tables with rows about people, and the column that names the person: a line each. Of a table that is not there
-- nothing is deleted; it may be a follower's that is yet to be installed. What comes back is a row with the id of
-- somebody who is erased, which is asked for once more.
CREATE FUNCTION places_of_people() RETURNS TABLE (place text, person_column text, comes_back boolean)
LANGUAGE sql
STABLE
SET search_path = rollbook, pg_temp
AS $$
    SELECT each.*
    FROM (
        VALUES
            ('users', 'id', false),
            ('members', 'member_id', false),
            ('history', 'user_id', false),
            ('people', 'id', false),
            ('local_edits', 'user_id', false),
            ('attribute_changes', 'user_id', false),
            ('identities', 'user_id', false),
            ('request_log', 'user_id', true)
    ) AS each(place, person_column, comes_back)
    WHERE to_regclass('rollbook.' || each.place) IS NOT NULL
$$;

-- Deletes the rows about a person, wherever there are any.
CREATE FUNCTION forget(of_tenant uuid, person uuid) RETURNS void
LANGUAGE plpgsql
SET search_path = rollbook, pg_temp
AS $$
DECLARE
    each record;
BEGIN
    FOR each IN SELECT * FROM places_of_people() LOOP
        EXECUTE format('DELETE FROM rollbook.%I WHERE tenant_id = $1 AND %I = $2', each.place, each.person_column)
            USING of_tenant, person;
    END LOOP;
END
$$;

-- How many rows about a person there are that should not be; with the rights of whoever asks.
CREATE FUNCTION rows_about(of_tenant uuid, person uuid) RETURNS bigint
LANGUAGE plpgsql
STABLE
SET search_path = rollbook, pg_temp
AS $$
DECLARE
    each record;
    found bigint;
    total bigint := 0;
BEGIN
    FOR each IN SELECT * FROM places_of_people() WHERE NOT comes_back LOOP
        EXECUTE format('SELECT count(*) FROM rollbook.%I WHERE tenant_id = $1 AND %I = $2', each.place, each.person_column)
            INTO found USING of_tenant, person;
        total := total + found;
    END LOOP;
    RETURN total;
END
$$;

-- The texts by which a person was ever known, in lower case: what names the person wherever it stands. The columns of
-- users have the form in which names collide (STRASSE is straße), which lower() does not know.
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
        UNION
        SELECT unnest(ARRAY[user_name, microsoft_id]) FROM users WHERE tenant_id = of_tenant AND id = person
    )
    SELECT coalesce(array_agg(DISTINCT lower(trim(name))), '{}')
    FROM known
    WHERE trim(name) <> ''
$$;

-- Whether a text holds one of the names, as words of its own: Man is not in Manual, and neither is ann in
-- ann@contoso.example or in ann-marie, unless `loosely`. Numbers, and what has fewer than three characters, must be the
-- whole text.
CREATE FUNCTION mentions(content text, names text[], loosely boolean) RETURNS boolean
LANGUAGE plpgsql
IMMUTABLE
STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    folded text := lower(content);
    name text;
    words text;
BEGIN
    FOREACH name IN ARRAY names LOOP
        IF folded = name THEN
            RETURN true;
        END IF;
        CONTINUE WHEN length(name) < 3 OR name ~ '^[0-9]+$' OR strpos(folded, name) = 0;
        words := regexp_replace(name, '([^[:alnum:][:space:]])', '\\\1', 'g');
        IF NOT loosely THEN
            words := '(?<![[:alnum:]][.@+_-])' || words || '(?![.@+_-][[:alnum:]])';
        END IF;
        IF folded ~ ('(?<![[:alnum:]])' || words || '(?![[:alnum:]])') THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END
$$;

-- The events of the tenant's own stream that name a person, behind a seq: what was refused, asked or exported, and tokens
-- that were named after the person. Only what others wrote is looked at, not our own words beside it.
CREATE FUNCTION notes_about(of_tenant uuid, person uuid, names text[], after_seq bigint) RETURNS TABLE (seq bigint)
LANGUAGE sql
STABLE
SET search_path = rollbook, pg_temp
AS $$
    SELECT events.seq
    FROM events
    WHERE tenant_id = of_tenant
        AND events.type IN ('RequestRefused', 'AuditAccessed', 'EvidenceExported', 'TokenIssued', 'TokenRevoked')
        AND events.seq > after_seq
        -- Not =, for the index of streams would lead through all notes to the few behind a seq.
        AND stream_id IS NOT DISTINCT FROM of_tenant
        AND data IS NOT NULL
        AND (
            (events.type = 'RequestRefused' AND data ->> 'user_id' = person::text)
            OR mentions(data ->> 'path', names, false)
            OR mentions(data ->> 'detail', names, false)
            OR mentions(data ->> 'name', names, true)
            OR EXISTS (
                SELECT
                FROM json_each_text(data -> 'subject') AS member
                WHERE mentions(member.value, names, false)
            )
            -- A number that was asked with is a seq or a limit, unless it is an actor's.
            OR EXISTS (
                SELECT
                FROM json_each_text(data -> 'parameters') AS member
                WHERE mentions(member.value, names, false) AND (member.key = 'actor' OR member.value !~ '^[0-9]+$')
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

-- The events by which a group awaits somebody of one of these names: the only ones of a group that may tell of a person.
CREATE FUNCTION awaited_as(of_tenant uuid, names text[]) RETURNS TABLE (seq bigint)
LANGUAGE sql
STABLE
SET search_path = rollbook, pg_temp
AS $$
    SELECT events.seq
    FROM events
    WHERE tenant_id = of_tenant AND type = 'MemberAwaited' AND lower(trim(data ->> 'value')) = ANY (names)
$$;

-- Lets a person leave all groups, each by an event of its own.
CREATE FUNCTION leave_groups(
    of_tenant uuid, person uuid, by_source text, by_actor text, by_token uuid, by_request uuid
) RETURNS void
LANGUAGE plpgsql
SET search_path = rollbook, pg_temp
AS $$
DECLARE
    each groups;
BEGIN
    FOR each IN
        SELECT groups.*
        FROM groups
        JOIN members ON members.tenant_id = of_tenant AND members.group_id = groups.id AND members.member_id = person
        WHERE groups.tenant_id = of_tenant
        ORDER BY groups.id
    LOOP
        PERFORM append(
            of_tenant, ARRAY[each.id], ARRAY[each.version + 1], ARRAY['MembersRemoved'], ARRAY[by_source],
            ARRAY[by_actor], ARRAY[by_token], ARRAY[by_request],
            ARRAY[json_build_object('type', 'MembersRemoved', 'users', json_build_array(person))::text],
            ARRAY[sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))],
            jsonb_build_object(
                'groups', jsonb_build_array(
                    to_jsonb(each) || jsonb_build_object('version', each.version + 1, 'modified_at', NULL)
                ),
                'members', jsonb_build_array(
                    jsonb_build_object('group_id', each.id, 'member_id', person, 'is_gone', true)
                )
            )
        );
    END LOOP;
END
$$;

-- Erases the personal data of one person: empties the events of the person, and those of the tenant and of groups that
-- name the person; takes the person out of every projection; and records that it was done. All or nothing, and only once: whether
-- it was done by this call.
--
-- What is erased is found here and nowhere else, so that whoever may call this can erase a person, and nothing else. The
-- search for names is done before the head is locked, and again only for what came since. Should the person have got
-- another name meanwhile, all is to be done again: older notes were not searched for that one.
CREATE FUNCTION erase(
    of_tenant uuid, person uuid, by_source text, by_actor text, by_token uuid, by_request uuid, by_basis text
) RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = rollbook, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    names text[];
    looked_up_to bigint;
    mentioned bigint[];
    last events;
    known users;
    held jsonb;
    erasure json;
BEGIN
    IF by_basis NOT IN ('a', 'b', 'c', 'd', 'e', 'f') THEN
        RAISE EXCEPTION 'article 17(1) has the letters a to f'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'basis_is_of_article_17';
    END IF;
    IF person = of_tenant THEN
        RETURN false;  -- its own stream is nobody's
    END IF;
    names := names_of(of_tenant, person);
    SELECT heads.seq INTO looked_up_to FROM heads WHERE tenant_id = of_tenant;
    SELECT array_agg(seq) INTO mentioned FROM notes_about(of_tenant, person, names, 0);

    PERFORM FROM heads WHERE tenant_id = of_tenant FOR NO KEY UPDATE;
    SELECT * INTO last FROM events WHERE tenant_id = of_tenant AND stream_id = person ORDER BY version DESC LIMIT 1;
    IF last.seq IS NULL OR last.type = 'PersonalDataErased' OR NOT EXISTS (
        SELECT FROM events WHERE tenant_id = of_tenant AND stream_id = person AND version = 1 AND type = 'UserProvisioned'
    ) THEN
        RETURN false;  -- nobody, erased already, or a group
    END IF;
    IF names_of(of_tenant, person) <> names THEN
        RAISE EXCEPTION 'the person has another name by now'
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'version_is_expected';
    END IF;
    SELECT array_agg(seq ORDER BY seq) INTO mentioned
    FROM (
        SELECT unnest(mentioned) AS seq
        UNION
        SELECT seq FROM notes_about(of_tenant, person, names, looked_up_to)
        UNION
        SELECT seq FROM awaited_as(of_tenant, names)
    ) AS both_looks;

    PERFORM FROM tokens
    JOIN events ON events.tenant_id = of_tenant AND events.seq = ANY (mentioned) AND events.type = 'TokenIssued'
        AND events.data ->> 'token_id' = tokens.id::text
    WHERE tokens.tenant_id = of_tenant AND tokens.revoked_at IS NULL AND tokens.expires_at > clock_timestamp();
    IF FOUND THEN
        RAISE EXCEPTION 'a valid token is named after the person'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'no_valid_token_names_the_person';
    END IF;

    SELECT * INTO known FROM users WHERE tenant_id = of_tenant AND id = person;
    SELECT json_build_object(
        'type', 'PersonalDataErased',
        'events', last.version,
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
        SELECT last.version + 1, json_build_object(known.role, -1) WHERE known.active
    ) AS moved;
    held := jsonb_build_array(jsonb_build_object(
        'role', known.role,
        'active', -known.active::int,
        'inactive', -(NOT known.active AND NOT known.is_deleted)::int,
        'deleted', -known.is_deleted::int,
        'taken', 0
    ));

    DELETE FROM tokens
    USING events
    WHERE tokens.tenant_id = of_tenant
        AND events.tenant_id = of_tenant
        AND events.seq = ANY (mentioned)
        AND events.type = 'TokenIssued'
        AND events.data ->> 'token_id' = tokens.id::text;
    UPDATE events SET data = NULL, salt = NULL WHERE tenant_id = of_tenant AND stream_id = person;
    UPDATE events SET data = NULL, salt = NULL
    WHERE tenant_id = of_tenant AND (stream_id = of_tenant OR type = 'MemberAwaited') AND seq = ANY (mentioned);
    DELETE FROM members WHERE tenant_id = of_tenant AND lower(trim(value)) = ANY (names);
    -- First, for nobody gets another role who leaves a group in this way.
    DELETE FROM users WHERE tenant_id = of_tenant AND id = person;
    PERFORM leave_groups(of_tenant, person, by_source, by_actor, by_token, by_request);
    PERFORM append(
        of_tenant, ARRAY[person], ARRAY[last.version + 1], ARRAY['PersonalDataErased'], ARRAY[by_source], ARRAY[by_actor],
        ARRAY[by_token], ARRAY[by_request], ARRAY[erasure::text],
        ARRAY[sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))],
        CASE WHEN known.id IS NULL THEN '{}' ELSE jsonb_build_object('seats', held) END
    );
    -- Followers that had read the events before delete these rows again when they come to this event.
    PERFORM forget(of_tenant, person);
    RETURN true;
END
$$;

REVOKE ALL ON FUNCTION erase, forget, leave_groups, awaited_as, names_of, mentions, notes_about, seats_moved FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase TO rollbook_service;
