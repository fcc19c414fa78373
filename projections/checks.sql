-- What the last checks found: of each projection against the log, and of the ledger. For operators to look at, and no
-- proof of anything; it is not made of the events, so no rebuild touches it.

-- A check of all tenants leaves a row for each, so that nobody is shown what is another tenant's.
CREATE TABLE checks (
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    -- The projection; of the check of the ledger, `ledger`.
    name text NOT NULL,
    started_at timestamptz NOT NULL,
    -- For how long it ran. A replay check of all tenants: all of them together.
    seconds float NOT NULL,
    -- How many events of the tenant it read, and how many differences or findings it had there. 0 if it failed.
    events bigint NOT NULL,
    differences bigint NOT NULL,
    outcome text NOT NULL,
    is_of_all boolean NOT NULL,
    -- The program's.
    version text NOT NULL,

    -- The last one of each.
    PRIMARY KEY (tenant_id, kind, name),
    CONSTRAINT check_is_known CHECK (kind IN ('replay', 'ledger')),
    -- A check that failed met an event that cannot be applied, in this tenant or another one.
    CONSTRAINT outcome_is_known CHECK (
        outcome IN ('holds', 'differs', 'failed', 'content_differs', 'proof_fails', 'signature_fails', 'incomplete')
    )
);

-- The checks are the operator's: the service reads them.
GRANT SELECT ON checks TO rollbook_service;
