-- Who is signed in to the console. No projection: looking is no event by itself, and each look is noted on its own.

CREATE TABLE console_sessions (
    tenant_id uuid NOT NULL,
    digest text NOT NULL,  -- of the secret in the cookie; whoever reads this table cannot sign in with it
    role text NOT NULL,
    actor text NOT NULL,  -- who changes things by it, in the events: the token's id, or the person's
    token_id uuid,  -- with which it began, and with which it ends; null if an issuer of identities vouched
    began_at timestamptz NOT NULL DEFAULT now(),
    ends_at timestamptz NOT NULL,

    PRIMARY KEY (tenant_id, digest),
    CONSTRAINT role_is_known CHECK (role IN ('owner', 'admin', 'auditor'))
);

-- Sessions that are over are deleted when the next one begins.
CREATE INDEX console_sessions_by_end ON console_sessions (tenant_id, ends_at);

GRANT SELECT, INSERT, DELETE ON console_sessions TO rollbook_service;
