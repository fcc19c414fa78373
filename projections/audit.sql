-- What auditors read. docs/auditor-guide.md explains every column; views only ever get new ones, at their end.
--
-- Views of the log itself are `security_invoker`: row-level security decides what the reader sees of it. They name
-- rollbook.events and rollbook.heads, and nothing else.
--
-- All others read with the owner's rights, are `security_barrier`, so that no condition of the reader's sees a row before
-- the filter has, and filter by rollbook.audited_tenants(), in a sub-select: once a statement. Each reads the tables of
-- one projection at most, for replay makes it anew when it replaces those.
--
-- Names, and salts, are shown as `name || ''`: the planner has no statistics of that. Those that it has of a column are about all
-- tenants, and its estimates for one condition after the other would spell them out.

-- Each event as it stands in the log, with what its digest was made of.
CREATE VIEW audit.events WITH (security_invoker = true) AS
SELECT
    tenant_id, seq, stream_id, version, type, recorded_at, source, actor, token_id, request_id, data,
    salt || '' AS salt, digest
FROM rollbook.events;

-- Where each tenant's log ends.
CREATE VIEW audit.heads WITH (security_invoker = true) AS
SELECT tenant_id, seq, recorded_at
FROM rollbook.heads;

-- Every value that was set, before and after; the role in force and whether somebody was active among them.
CREATE VIEW audit.attribute_changes WITH (security_invoker = true) AS
SELECT
    tenant_id, seq, recorded_at, stream_id AS user_id, version, changed.attribute, changed.before, changed.after,
    type, source, actor, token_id, request_id
FROM rollbook.events
CROSS JOIN LATERAL (
    SELECT key, NULL, value #>> '{}'
    FROM json_each(CASE type WHEN 'UserProvisioned' THEN data -> 'attributes' END)
    WHERE key <> 'role'  -- as it was sent
    UNION ALL
    SELECT key, value ->> 'from', value ->> 'to'
    FROM json_each(CASE type WHEN 'AttributesChanged' THEN data -> 'changes' END)
    WHERE key <> 'role'  -- a change of its spelling
    UNION ALL
    SELECT 'role', data ->> 'from', coalesce(data ->> 'to', data ->> 'role')
    WHERE type IN ('UserProvisioned', 'RoleAssigned')
    UNION ALL
    SELECT
        'active',
        CASE type WHEN 'UserProvisioned' THEN NULL ELSE (type <> 'Reactivated')::text END,
        CASE type WHEN 'UserProvisioned' THEN data ->> 'active' ELSE (type = 'Reactivated')::text END
    WHERE type IN ('UserProvisioned', 'Deactivated', 'Reactivated')
        OR (type = 'UserDeleted' AND (data ->> 'active')::boolean)
) AS changed(attribute, before, after)
WHERE type IN ('UserProvisioned', 'AttributesChanged', 'RoleAssigned', 'Deactivated', 'Reactivated', 'UserDeleted')
    AND data IS NOT NULL;

-- Writes that were refused although their token was valid.
CREATE VIEW audit.refusals WITH (security_invoker = true) AS
SELECT
    tenant_id, seq, recorded_at, source, actor, token_id, request_id, (data ->> 'status')::int AS status,
    data ->> 'method' AS method, data ->> 'path' AS path, data ->> 'detail' AS detail,
    data ->> 'scim_type' AS scim_type, (data ->> 'user_id')::uuid AS user_id, data -> 'subject' AS subject
FROM rollbook.events
WHERE type = 'RequestRefused';

-- Who looked at the audit over HTTP or on the command line, and who took what away as a file.
CREATE VIEW audit.accesses WITH (security_invoker = true) AS
SELECT
    tenant_id, seq, recorded_at, source, actor, token_id, request_id, type,
    data ->> 'question' AS question,
    CASE WHEN data IS NOT NULL THEN coalesce(data -> 'parameters', '{}') END AS parameters,
    (data ->> 'rows')::bigint AS rows,
    (data ->> 'as_of_seq')::bigint AS as_of_seq, data ->> 'format' AS format, data ->> 'sha256' AS sha256,
    (data ->> 'first_seq')::bigint AS first_seq, (data ->> 'last_seq')::bigint AS last_seq,
    CASE WHEN type = 'EvidenceExported' AND data IS NOT NULL THEN coalesce((data ->> 'erased')::bigint, 0) END AS erased,
    CASE WHEN type = 'EvidenceExported' AND data IS NOT NULL THEN coalesce((data ->> 'is_whole')::boolean, true) END
        AS is_whole
FROM rollbook.events
WHERE type IN ('AuditAccessed', 'EvidenceExported');

-- Whose data were erased, when, and by whose request.
CREATE VIEW audit.erasures WITH (security_invoker = true) AS
SELECT
    tenant_id, stream_id AS user_id, seq, recorded_at, source, actor, token_id, request_id, data ->> 'basis' AS basis,
    (data ->> 'events')::int AS events, data -> 'notes' AS notes, data -> 'seats' AS seats
FROM rollbook.events
WHERE type = 'PersonalDataErased';

-- The tenants with their settings.
CREATE VIEW audit.tenants WITH (security_barrier = true) AS
SELECT tenant_id, name || '' AS name, settings, seat_limit, created_at
FROM rollbook.tenants
WHERE tenant_id = ANY ((SELECT rollbook.audited_tenants())::uuid[]);

-- The people as they are now.
CREATE VIEW audit.people WITH (security_barrier = true) AS
SELECT
    tenant_id, id AS user_id, version, attributes ->> 'userName' AS user_name, active, role, attributes, origins,
    is_deleted, created_at, modified_at, deleted_at
FROM rollbook.users
WHERE tenant_id = ANY ((SELECT rollbook.audited_tenants())::uuid[]);

-- Each state that a person was ever in.
CREATE VIEW audit.history WITH (security_barrier = true) AS
SELECT
    tenant_id, user_id, valid_from_seq, valid_to_seq, valid_from, valid_to, version,
    attributes ->> 'userName' AS user_name, active, role, attributes, origins, is_deleted, created_at, deleted_at
FROM rollbook.history
WHERE tenant_id = ANY ((SELECT rollbook.audited_tenants())::uuid[]);

-- Who went by which name, when.
CREATE VIEW audit.identities WITH (security_barrier = true) AS
SELECT tenant_id, user_id, attribute, value || '' AS value, spelling || '' AS spelling, from_seq, to_seq, valid_from, valid_to
FROM rollbook.identities
WHERE tenant_id = ANY ((SELECT rollbook.audited_tenants())::uuid[]);

-- What people edited locally, and what became of it.
CREATE VIEW audit.local_edits WITH (security_barrier = true) AS
SELECT
    edit.tenant_id, edit.seq, edit.recorded_at, edit.user_id, edit.version, edit.attribute, edit.before, edit.after,
    began.actor, began.token_id, began.request_id,
    edit.fate, edit.ended_seq, edit.ended_at, ended.request_id AS ended_by, edit.replaced_by
FROM rollbook.local_edits AS edit
JOIN rollbook.events AS began ON began.tenant_id = edit.tenant_id AND began.seq = edit.seq
LEFT JOIN rollbook.events AS ended ON ended.tenant_id = edit.tenant_id AND ended.seq = edit.ended_seq
WHERE edit.tenant_id = ANY ((SELECT rollbook.audited_tenants())::uuid[]);

-- The seats after each event that changed them.
CREATE VIEW audit.seats WITH (security_barrier = true) AS
SELECT tenant_id, seq, recorded_at, active, by_role
FROM rollbook.seat_changes
WHERE tenant_id = ANY ((SELECT rollbook.audited_tenants())::uuid[]);

-- The days on which seats changed.
CREATE VIEW audit.seat_days WITH (security_barrier = true) AS
SELECT tenant_id, day, peak, active
FROM rollbook.seat_days
WHERE tenant_id = ANY ((SELECT rollbook.audited_tenants())::uuid[]);

-- The tokens, without what their secrets could be recognised by.
CREATE VIEW audit.tokens WITH (security_barrier = true) AS
SELECT
    tokens.tenant_id, tokens.id AS token_id, tokens.name || '' AS name, tokens.scopes, tokens.issued_at, tokens.expires_at,
    tokens.revoked_at, token_uses.used_at, tokens.user_id
FROM rollbook.tokens
LEFT JOIN rollbook.token_uses ON token_uses.tenant_id = tokens.tenant_id AND token_uses.token_id = tokens.id
WHERE tokens.tenant_id = ANY ((SELECT rollbook.audited_tenants())::uuid[]);

-- How far each derived table is in the log.
CREATE VIEW audit.followers WITH (security_barrier = true) AS
SELECT
    heads.tenant_id, projections.name AS follower, coalesce(places.seq, 0) AS seq, heads.seq AS last_seq,
    heads.seq - coalesce(places.seq, 0) AS behind, places.error, places.parked_at
FROM rollbook.heads
CROSS JOIN rollbook.projections
LEFT JOIN rollbook.places ON places.tenant_id = heads.tenant_id AND places.follower = projections.name
WHERE projections.is_follower AND heads.tenant_id = ANY ((SELECT rollbook.audited_tenants())::uuid[]);

-- What directories asked for, whether it changed anything or not.
CREATE VIEW audit.requests WITH (security_barrier = true) AS
SELECT
    tenant_id, at, request_id, token_id, method, route, status, microseconds, user_id, refusal, quirks, changes
FROM rollbook.request_log
WHERE tenant_id = ANY ((SELECT rollbook.audited_tenants())::uuid[]);

-- Days of requests that were deleted because of their age.
CREATE VIEW audit.prunes WITH (security_barrier = true) AS
SELECT tenant_id, day, pruned_at, requests, keep_days, source, actor
FROM rollbook.prunes
WHERE tenant_id = ANY ((SELECT rollbook.audited_tenants())::uuid[]);

-- What was signed of the ledgers.
CREATE VIEW audit.checkpoints WITH (security_barrier = true) AS
SELECT tenant_id, size, key, root, made_at, note, is_kept
FROM rollbook.checkpoints
WHERE tenant_id = ANY ((SELECT rollbook.audited_tenants())::uuid[]);

-- The hashes of the ledgers' nodes.
CREATE VIEW audit.ledger_tiles WITH (security_barrier = true) AS
SELECT tenant_id, level, place, hashes
FROM rollbook.ledger_tiles
WHERE tenant_id = ANY ((SELECT rollbook.audited_tenants())::uuid[]);

-- The public keys of the whole store, which are for everybody.
CREATE VIEW audit.ledger_keys WITH (security_barrier = true) AS
SELECT number, vkey, made_at, endorsement
FROM rollbook.ledger_keys;

-- Who else may read here, and who could.
CREATE VIEW audit.auditors WITH (security_barrier = true) AS
SELECT tenant_id, role, granted_at, granted_by, revoked_at, revoked_by
FROM rollbook.auditors
WHERE tenant_id = ANY ((SELECT rollbook.audited_tenants())::uuid[]);
