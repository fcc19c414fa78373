"""A projection's table, as far as those must know it who rebuild it."""

from msgspec import Struct


class Table(Struct, frozen=True):
    """A table, the columns of its primary key, and the column that holds the stream whose events make a row.

    That is the tenant's own id where rows are made of events of many streams.
    """

    name: str
    key: tuple[str, ...]
    stream: str = "tenant_id"
