"""What the `path` of a PATCH operation names (RFC 7644 §3.5.2), in all spellings that directories use."""

from msgspec import Struct

from engine.catalog import Catalog
from engine.filter_parser import Parser
from engine.filters import Filter
from engine.refusals import InvalidPath
from engine.schema import Attribute, Target
from engine.values import Quirks

MOST_TERMS = 10  # directories use one or two


class Path(Struct, frozen=True):
    """An attribute, the filter that chooses among its elements, and one of its sub-attributes.

    `target` is None if the name is none of ours. `schema` is set, and nothing else, if the path is a schema's URN.
    """

    text: str
    target: Target | None = None
    filter: Filter | None = None
    sub: Attribute | None = None
    schema: str | None = None


def parse(text: str, catalog: Catalog, quirks: Quirks | None = None) -> Path:
    """Raises InvalidPath, with the place, if the text is not of the grammar."""
    if urn := catalog.schema_urn(text.strip()):
        return Path(text, schema=urn)
    quirks = [] if quirks is None else quirks
    parser = Parser(text, catalog, InvalidPath, MOST_TERMS, quirks)
    name = parser.name().text
    target, odd = catalog.spelled(name)
    quirks += odd
    if parser.peek() != "[":
        parser.take_end()
        return Path(text, target, sub=target.sub if target else None)
    chosen = parser.bracketed(target)
    sub_name = parser.sub_name()
    parser.take_end()
    sub = target.attribute.sub(sub_name) if target else None
    if sub_name and sub is None:
        return Path(text)  # an unknown sub-attribute is as unknown as an attribute
    return Path(text, target, chosen, sub)
