-- The tenants and their settings.

CREATE TABLE tenants (
    tenant_id uuid PRIMARY KEY,
    -- Unique because the id is made from it.
    name text NOT NULL,
    -- All settings, those with their default value included.
    settings jsonb NOT NULL,
    -- The same as in settings; the append looks at it.
    seat_limit int NULL,
    created_at timestamptz NOT NULL
);

-- Called by the append, and by replay with times of the past.
CREATE FUNCTION put_tenants(of_tenant uuid, at timestamptz, rows jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO tenants
    SELECT of_tenant, given.name, given.settings, given.seat_limit, coalesce(given.created_at, at)
    FROM jsonb_to_recordset(rows) AS given(name text, settings jsonb, seat_limit int, created_at timestamptz)
    ON CONFLICT (tenant_id) DO UPDATE SET
        settings = excluded.settings,
        seat_limit = excluded.seat_limit;
END
$$;

GRANT SELECT ON tenants TO rollbook_service;
