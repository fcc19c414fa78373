-- What is known of the projections themselves: which versions are installed, how far each follower is, and what is
-- being rebuilt. The first and the last table are about the whole store, as `store` is; the places are a tenant's.

-- The version of each projection's tables. A program that brings another one rebuilds before it uses them.
CREATE TABLE projections (
    name text PRIMARY KEY,
    version int NOT NULL,
    -- Whether it is written after the commit, and has places.
    is_follower boolean NOT NULL,
    rebuilt_at timestamptz NULL
);

-- How far each follower is in each tenant's log. No row: nothing is applied yet.
CREATE TABLE places (
    tenant_id uuid NOT NULL,
    follower text NOT NULL,
    -- Everything up to here is applied. Moved in the transaction of the follower's own writes.
    seq bigint NOT NULL,
    -- Who applies the next events at this moment, by the database's clock. Only saves double work: what keeps a place
    -- from being moved twice is that whoever moves it names the seq that it had.
    leased_by uuid NULL,
    leased_until timestamptz NULL,
    -- Parked: the event behind seq cannot be applied. It is tried again, and never passed over.
    attempts int NOT NULL DEFAULT 0,
    error text NULL,
    parked_at timestamptz NULL,
    retry_at timestamptz NULL,

    PRIMARY KEY (tenant_id, follower)
) WITH (fillfactor = 50);

-- Finds what a process left behind when it was killed, and what is to be tried again, without looking at all tenants.
CREATE INDEX places_unfinished ON places (tenant_id, follower) WHERE leased_by IS NOT NULL OR retry_at IS NOT NULL;

-- What is being rebuilt. A run that is not heard of until leased_until is dead.
CREATE TABLE replays (
    projection text PRIMARY KEY,
    run uuid NOT NULL,
    leased_until timestamptz NOT NULL,
    events_done bigint NOT NULL,
    events_total bigint NOT NULL
);

GRANT SELECT ON projections, replays TO rollbook_service;
GRANT SELECT, INSERT, UPDATE ON places TO rollbook_service;
