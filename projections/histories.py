"""Who was what and when: queries on the rows that the follower `history` keeps."""

from datetime import datetime
from uuid import UUID

import asyncpg

from engine.user import User
from projections.users import user_of

# A row as one of users: what began the state is what modified the user last.
USER = "*, user_id AS id, valid_from AS modified_at"


class Histories:
    """Each query is one index look-up, however long the history is. What the follower has yet to apply is not there."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def state_at_seq(self, tenant_id: UUID, user_id: UUID, seq: int) -> User | None:
        """The user after that event of the tenant's log; None before the first event of the user."""
        return _user(await self._pool.fetch(_AT_SEQ, tenant_id, user_id, seq))

    async def state_at(self, tenant_id: UUID, user_id: UUID, moment: datetime) -> User | None:
        """The user after everything that was recorded at the moment or before it; None before the first event."""
        return _user(await self._pool.fetch(_AT, tenant_id, user_id, moment))


def _user(rows: list[asyncpg.Record]) -> User | None:
    return user_of(rows[0]) if rows else None


_AT_SEQ = f"""
    SELECT {USER}
    FROM rollbook.history
    WHERE tenant_id = $1 AND user_id = $2 AND valid_from_seq <= $3
    ORDER BY valid_from_seq DESC
    LIMIT 1
"""  # noqa: S608  constants

_AT = f"""
    SELECT {USER}
    FROM rollbook.history
    WHERE tenant_id = $1 AND user_id = $2 AND valid_from <= $3
    ORDER BY valid_from DESC, valid_from_seq DESC
    LIMIT 1
"""  # noqa: S608  constants
