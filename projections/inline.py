"""The projections that every append writes, in the order in which their tables are made."""

from typing import Protocol

from engine.decision import InlineProjection
from projections.groups import GroupsProjection
from projections.members import MembersProjection
from projections.seats import SeatsProjection
from projections.table import Table
from projections.tenants import TenantsProjection, TokensProjection
from projections.users import UsersProjection


class Inline(InlineProjection, Protocol):
    """What a rebuild must know besides. `version` goes up whenever the same events make other rows."""

    @property
    def version(self) -> int: ...

    @property
    def tables(self) -> tuple[Table, ...]: ...


INLINE: tuple[Inline, ...] = (
    TenantsProjection(),
    TokensProjection(),
    UsersProjection(),
    SeatsProjection(),
    GroupsProjection(),
    MembersProjection(),
)
