-- When each token was last used. No projection: reads are not events. The service notes it now and then.

CREATE TABLE token_uses (
    tenant_id uuid NOT NULL,
    token_id uuid NOT NULL,
    used_at timestamptz NOT NULL,

    PRIMARY KEY (tenant_id, token_id)
);

GRANT SELECT, INSERT, UPDATE ON token_uses TO rollbook_service;
