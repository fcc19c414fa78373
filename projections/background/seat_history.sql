-- How many seats were taken, and when.

-- The seats after each event that changed them.
CREATE TABLE seat_changes (
    tenant_id uuid NOT NULL,
    seq bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- Active users in all, and by role: {"admin": 2, "member": 40}. Roles that nobody active has are left out.
    active int NOT NULL,
    by_role jsonb NOT NULL,
    -- The last event by which a seat was taken; NULL: none ever was.
    taken_seq bigint NULL,

    -- Finds the seats as of a seq.
    PRIMARY KEY (tenant_id, seq)
);

-- Finds the seats as of a time, and the curve between two.
CREATE INDEX seat_changes_by_time ON seat_changes (tenant_id, recorded_at, seq);

-- The days (UTC) on which seats changed. On a day without a row there were as many as at the end of the last one.
CREATE TABLE seat_days (
    tenant_id uuid NOT NULL,
    day date NOT NULL,
    -- The most that were taken at any moment of the day, and those at its end.
    peak int NOT NULL,
    active int NOT NULL,

    PRIMARY KEY (tenant_id, day)
);

GRANT SELECT, INSERT, UPDATE ON seat_changes, seat_days TO rollbook_service;
