-- How many people there are: one row for each role of a tenant. An active user holds a seat.

CREATE TABLE seats (
    tenant_id uuid NOT NULL,
    role text NOT NULL,
    active int NOT NULL,
    inactive int NOT NULL,
    -- Deleted by the directory; no SCIM resources any more, but people whom the app still knows.
    deleted int NOT NULL,

    PRIMARY KEY (tenant_id, role)
) WITH (fillfactor = 20);  -- counted up and down in place (HOT)

-- Called by the append, and by replay. Rows are differences.
CREATE FUNCTION put_seats(of_tenant uuid, at timestamptz, rows jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO seats AS known
    SELECT of_tenant, given.role, sum(given.active), sum(given.inactive), sum(given.deleted)
    FROM jsonb_to_recordset(rows) AS given(role text, active int, inactive int, deleted int)
    GROUP BY given.role
    ON CONFLICT (tenant_id, role) DO UPDATE SET
        active = known.active + excluded.active,
        inactive = known.inactive + excluded.inactive,
        deleted = known.deleted + excluded.deleted;
END
$$;

-- Called by the append after put_seats: under the head's lock, so that two creations cannot both take the last seat.
-- Only what takes seats is refused; a limit that was lowered below the count evicts nobody. Seats that are given up in
-- the same append are free for those that are taken, but over the limit they let nobody in.
CREATE FUNCTION keep_seat_limit(of_tenant uuid, rows jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    taken bigint;
    seat_limit int;
    used bigint;
BEGIN
    SELECT sum(given.taken) INTO taken FROM jsonb_to_recordset(rows) AS given(taken int);
    IF taken = 0 THEN
        RETURN;
    END IF;
    SELECT tenants.seat_limit INTO seat_limit FROM tenants WHERE tenant_id = of_tenant;
    IF seat_limit IS NULL THEN
        RETURN;
    END IF;
    SELECT sum(seats.active) INTO used FROM seats WHERE tenant_id = of_tenant;
    IF used > seat_limit THEN
        RAISE EXCEPTION 'no seat is free'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'seats_are_within_limit',
                DETAIL = format('%s of %s', used - taken, seat_limit);
    END IF;
END
$$;

GRANT SELECT ON seats TO rollbook_service;
