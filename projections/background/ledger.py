"""Each tenant's log as a Merkle tree, event by event."""

from collections.abc import Sequence

from engine import merkle, tiles
from engine.leaf import leaf_of
from engine.tiles import Tile, Tiles
from projections.batch import Batch
from projections.follower import Follower
from projections.table import Table


class Ledger(Follower):
    """Continues the tree of a tenant by the leaves of its new events."""

    name = "ledger"
    version = 1
    tables = (Table("ledger_tiles", ("tenant_id", "level", "place")),)
    reads_headers = True

    async def apply(self, batch: Batch) -> None:
        if not batch.headers:
            return
        size = batch.headers[0].seq - 1
        wanted = tiles.edge(size, len(batch.headers))
        edge = await _read(batch, wanted) if wanted else {}
        leaf_hashes = [merkle.leaf_hash(leaf_of(each)) for each in batch.headers]
        found = tiles.appended(size, leaf_hashes, edge)
        await batch.connection.execute(
            _PUT,
            batch.tenant_id,
            [tile.level for tile in found],
            [tile.place for tile in found],
            list(found.values()),
        )


FOLLOWER = Ledger()


async def _read(batch: Batch, wanted: Sequence[Tile]) -> Tiles:
    rows = await batch.connection.fetch(
        _TILES, batch.tenant_id, [tile.level for tile in wanted], [tile.place for tile in wanted]
    )
    return {Tile(row["level"], row["place"]): row["hashes"] for row in rows}


# One by one by the key, whatever the planner thinks of it.
_TILES = """
    SELECT wanted.level, wanted.place, tile.hashes
    FROM unnest($2::smallint[], $3::bigint[]) AS wanted(level, place)
    CROSS JOIN LATERAL (
        SELECT hashes
        FROM ledger_tiles
        WHERE tenant_id = $1 AND level = wanted.level AND place = wanted.place
        LIMIT 1
    ) AS tile
"""

_PUT = """
    INSERT INTO ledger_tiles
    SELECT $1, *
    FROM unnest($2::smallint[], $3::bigint[], $4::bytea[])
    ON CONFLICT (tenant_id, level, place) DO UPDATE SET hashes = excluded.hashes
"""
