"""The projections that every append writes, in the order in which their tables are made."""

from engine.engine import InlineProjection
from projections.seats import SeatsProjection
from projections.tenants import TenantsProjection, TokensProjection
from projections.users import UsersProjection

INLINE: tuple[InlineProjection, ...] = (TenantsProjection(), TokensProjection(), UsersProjection(), SeatsProjection())
