-- Which event changed which attribute of whom, and who went by which name when.

-- One row for each attribute that an event changed after the person was provisioned: an index into the log, which holds
-- the values.
CREATE TABLE attribute_changes (
    tenant_id uuid NOT NULL,
    -- As in the events; also `role` and `active`.
    attribute text NOT NULL,
    seq bigint NOT NULL,
    user_id uuid NOT NULL,

    -- Finds every change of an attribute, however rare.
    PRIMARY KEY (tenant_id, attribute, seq)
);

-- Finds those of one person.
CREATE INDEX attribute_changes_of_user ON attribute_changes (tenant_id, user_id, attribute, seq);

-- Who had which userName, externalId, microsoftId or address of e-mail, from which event on and until which.
CREATE TABLE identities (
    tenant_id uuid NOT NULL,
    -- userName, externalId, microsoftId, or emails.
    attribute text NOT NULL,
    -- As it is compared: but for externalId without regard to case; no more than its first 200 characters.
    value text NOT NULL,
    from_seq bigint NOT NULL,
    user_id uuid NOT NULL,
    valid_from timestamptz NOT NULL,
    -- NULL: the person has it now.
    to_seq bigint NULL,
    valid_to timestamptz NULL,

    -- Finds who had a name.
    PRIMARY KEY (tenant_id, attribute, value, from_seq, user_id)
) WITH (fillfactor = 90);

-- Finds what ends when a person is deleted, and all of it when the person is erased, while others wait.
CREATE INDEX identities_of_user ON identities (tenant_id, user_id);

GRANT SELECT, INSERT, UPDATE, DELETE ON attribute_changes, identities TO rollbook_service;
