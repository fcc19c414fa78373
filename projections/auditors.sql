-- Who may read which tenants in SQL, and row-level security on the log by that.
--
-- An auditor logs in with a role of its own, which is a member of `rollbook_auditor`. That role may read the views of
-- the schema `audit`, and cannot even name what is in the schema `rollbook`. What each one sees there stands here.

-- Each grant ever given. Only the owner writes here.
CREATE TABLE auditors (
    tenant_id uuid NOT NULL,
    -- The role's name: an oid would be another role's after a dump was restored elsewhere.
    role text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- As the actor of an event: the account of the machine that asked for it.
    granted_by text NOT NULL,
    -- NULL: it stands.
    revoked_at timestamptz NULL,
    revoked_by text NULL,

    PRIMARY KEY (tenant_id, role, granted_at),
    CONSTRAINT revocation_is_whole CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);

-- A tenant is granted to a role once at a time, and so revoked at once.
CREATE UNIQUE INDEX grant_stands_once ON auditors (tenant_id, role) WHERE revoked_at IS NULL;

-- The tenants of whoever logged in.
--
-- session_user is the role that gave its password: no SET ROLE, no setting and no function that runs as somebody else
-- changes it; only a superuser can. A pooler that logs in as one role for all and switches by SET ROLE gets nothing, for
-- its clients could switch as well.
--
-- SECURITY DEFINER: the table of grants is nobody's to read. Whoever calls it chooses nothing.
CREATE FUNCTION audited_tenants() RETURNS uuid[]
LANGUAGE sql
STABLE
PARALLEL SAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(tenant_id), '{}')
    FROM rollbook.auditors
    WHERE role = session_user AND revoked_at IS NULL
$$;

REVOKE ALL ON FUNCTION audited_tenants FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audited_tenants TO rollbook_auditor;

-- Rows of the log are seen by the service, and by auditors those of their tenants; by nobody else, whatever is granted.
-- The owner, as whom the append and replay work, is not concerned. All other tables have no row-level security, for COPY
-- into them would be refused, and are nobody's to read but the service's: auditors see them through views that filter.
LOCK TABLE heads, events IN ACCESS EXCLUSIVE MODE;  -- in the order in which others lock them
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
ALTER TABLE heads ENABLE ROW LEVEL SECURITY;
CREATE POLICY service_reads_all ON events FOR SELECT TO rollbook_service USING (true);
CREATE POLICY service_reads_all ON heads FOR SELECT TO rollbook_service USING (true);
-- In a sub-select: once a statement, where the bare call would be once a row.
CREATE POLICY auditors_read_their_tenants ON events FOR SELECT TO rollbook_auditor
    USING (tenant_id = ANY ((SELECT audited_tenants())::uuid[]));
CREATE POLICY auditors_read_their_tenants ON heads FOR SELECT TO rollbook_auditor
    USING (tenant_id = ANY ((SELECT audited_tenants())::uuid[]));

GRANT SELECT ON events, heads TO rollbook_auditor;
GRANT SELECT ON auditors TO rollbook_service;
