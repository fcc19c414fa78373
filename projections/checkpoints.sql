-- What was signed about each tenant's ledger, and with which keys. Not made of the events, so no rebuild touches it.

-- The public keys, oldest first; the last one signs. About the whole store, as `store` is.
CREATE TABLE ledger_keys (
    number int PRIMARY KEY,
    -- The key under the store's own name, as text (c2sp.org/signed-note).
    vkey text NOT NULL CONSTRAINT ledger_key_is_new UNIQUE,
    made_at timestamptz NOT NULL DEFAULT now(),
    -- A note of the key before, which says that this one follows. NULL: there was none before, or it was lost.
    endorsement text NULL
);

-- What was signed. Those that were given to anybody are kept, and of all others the last one of each hour.
CREATE TABLE checkpoints (
    tenant_id uuid NOT NULL,
    size bigint NOT NULL,
    -- The number of the key.
    key int NOT NULL,
    root bytea NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    note text NOT NULL,
    is_kept boolean NOT NULL,

    -- Finds the last one of a tenant. Two processes that sign the same tree store it once.
    PRIMARY KEY (tenant_id, size, key)
);

-- How far each destination is that checkpoints are sent to. No row: nothing was sent yet.
CREATE TABLE checkpoint_deliveries (
    tenant_id uuid NOT NULL,
    -- The SHA-256 of its address, which may hold a secret.
    destination text NOT NULL,
    -- The tree that was sent last, 0 for none, and when one was tried last: whoever sends takes the row by that.
    size bigint NOT NULL,
    tried_at timestamptz NOT NULL,

    PRIMARY KEY (tenant_id, destination)
);

-- Keys are the operator's: the service reads them.
GRANT SELECT ON ledger_keys TO rollbook_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON checkpoints TO rollbook_service;
GRANT SELECT, INSERT, UPDATE ON checkpoint_deliveries TO rollbook_service;
