-- The tokens of a tenant: digests only.

CREATE TABLE tokens (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    -- SHA-256 of the secret, in hexadecimal.
    digest text NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz NULL,
    -- Whose own token it is, if it is somebody's.
    user_id uuid NULL,

    PRIMARY KEY (tenant_id, id),
    -- Finds the token of a request.
    CONSTRAINT token_is_unique UNIQUE (tenant_id, digest)
);

-- Called by the append, and by replay with times of the past. A row with a digest issues a token, one without revokes it.
CREATE FUNCTION put_tokens(of_tenant uuid, at timestamptz, rows jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO tokens
    SELECT of_tenant, given.id, given.name, given.scopes, given.digest, coalesce(given.issued_at, at), given.expires_at,
        NULL, given.user_id
    FROM jsonb_to_recordset(rows) AS given(
        id uuid, name text, scopes text[], digest text, issued_at timestamptz, expires_at timestamptz,
        user_id uuid
    )
    WHERE given.digest IS NOT NULL;

    UPDATE tokens
    SET revoked_at = coalesce(given.revoked_at, at)
    FROM jsonb_to_recordset(rows) AS given(id uuid, digest text, revoked_at timestamptz)
    WHERE tokens.tenant_id = of_tenant AND tokens.id = given.id AND given.digest IS NULL;
END
$$;

GRANT SELECT ON tokens TO rollbook_service;
