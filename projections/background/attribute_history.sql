-- Which event changed which attribute of whom, and who went by which name when.

-- One row for each attribute that an event changed after the person was provisioned: an index into the log, which holds
-- the values.
CREATE TABLE attribute_changes (
    tenant_id uuid NOT NULL,
    -- As in the events; also `role` and `active`.
    attribute text NOT NULL,
    seq bigint NOT NULL,
    user_id uuid NOT NULL,

    -- Finds every change of an attribute, however rare. With the person, whose rows are made and replaced together.
    PRIMARY KEY (tenant_id, attribute, seq, user_id)
);

-- Finds those of one person.
CREATE INDEX attribute_changes_of_user ON attribute_changes (tenant_id, user_id, attribute, seq);

-- Who had which userName, externalId, microsoftId or address of e-mail, from which event on and until which.
CREATE TABLE identities (
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    -- userName, externalId, microsoftId, or emails.
    attribute text NOT NULL,
    -- As it is compared: but for externalId without regard to case; of a long one the first characters, and the SHA-256
    -- of all of it, so that it fits into an index.
    value text NOT NULL,
    -- As it was written when the person got it.
    spelling text NOT NULL,
    from_seq bigint NOT NULL,
    valid_from timestamptz NOT NULL,
    -- NULL: the person has it now.
    to_seq bigint NULL,
    valid_to timestamptz NULL,

    -- Finds all of a person's when the person is erased, while others wait.
    PRIMARY KEY (tenant_id, user_id, attribute, value, from_seq)
) WITH (fillfactor = 90);

-- Finds what a person no longer has from an event on, however often the person had it before.
CREATE INDEX identities_now ON identities (tenant_id, user_id, attribute, value) WHERE to_seq IS NULL;
-- Finds who had a name, in the order in which they got it.
CREATE INDEX identities_by_value ON identities (tenant_id, attribute, value, from_seq);

GRANT SELECT, INSERT, UPDATE, DELETE ON attribute_changes, identities TO rollbook_service;
