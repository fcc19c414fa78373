-- Each tenant's log as a Merkle tree (RFC 9162 §2.1), in tiles.

CREATE TABLE ledger_tiles (
    tenant_id uuid NOT NULL,
    -- The tile holds the hashes of the complete nodes at the tree's height 5 * level, from index 32 * place on: 1 to 32
    -- of them, of 32 bytes each. Leaves are at level 0, the one of seq n at index n - 1.
    level smallint NOT NULL,
    place bigint NOT NULL,
    -- PLAIN: at most 1 KB, which is never compressed, and never moved to a place beside the row.
    hashes bytea STORAGE PLAIN NOT NULL,

    -- Finds the tiles of a proof, one by one, and the last tile of a tree.
    PRIMARY KEY (tenant_id, level, place),
    CONSTRAINT tile_holds_hashes CHECK (octet_length(hashes) BETWEEN 32 AND 1024 AND octet_length(hashes) % 32 = 0)
) WITH (fillfactor = 70);  -- room for the next state of a tile that grows (HOT)

-- No plan depends on what is in it.
ALTER TABLE ledger_tiles ALTER hashes SET STATISTICS 0;

GRANT SELECT, INSERT, UPDATE ON ledger_tiles TO rollbook_service;
