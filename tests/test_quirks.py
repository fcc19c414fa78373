"""Quirks are told in words of ours: whatever a client sends, nothing of it is in them."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from hypothesis import given as for_all
from hypothesis import settings as how
from hypothesis import strategies as st

from engine import filter_parser, filters, patch, resource, schema
from engine.catalog import USERS
from engine.quirks import Quirk, at
from engine.refusals import Refusal
from engine.schema import CORE, ENTERPRISE, Attribute


def places() -> Iterator[str]:
    """Every name of our schema that may stand before a quirk."""
    yield from (each.id for each in USERS.schemas)
    yield from schema.COMMON
    for prefix, of in (("", schema.USER), (f"{ENTERPRISE}:", schema.ENTERPRISE_USER)):
        yield from (f"{prefix}{name}" for attribute in of.attributes for name in _names(attribute))


def _names(attribute: Attribute) -> Iterator[str]:
    yield attribute.name
    yield from (f"{attribute.name}.{sub.name}" for sub in attribute.sub_attributes)


OURS = {str(quirk) for quirk in Quirk} | {at(place, quirk) for place in places() for quirk in Quirk}

# Names as clients may write them: ours in all spellings, ours with something strange, and anything.
ODD = st.sampled_from(["", "Ann", "ann@x", "emails", "value", "type", "a b", "[", ":", ".", "urn:x", "é", "schemas"])
NAMES = st.one_of(
    st.sampled_from(sorted({*places()})),
    st.sampled_from(
        [CORE, ENTERPRISE, "manager", f"{CORE}.role", "ID", 'emails[type eq "work"]', "roles[primary eq True]"]
    ),
    ODD,
    st.builds("{}.{}".format, ODD, ODD),
    st.builds("{}:{}".format, st.sampled_from([CORE, ENTERPRISE, "urn:Ann"]), ODD),
    st.builds('{}[{} eq "{}"].{}'.format, ODD, ODD, ODD, ODD),
    st.text(max_size=20),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(["", "True", '{"value": "Ann"}']), ODD),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
BODIES = st.dictionaries(NAMES, VALUES, max_size=5)
OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "Add", "replace", "Replace", "remove", "Remove"])},
    optional={"path": NAMES, "value": VALUES, "Ann": VALUES},
)
FILTERS = st.builds(
    "{} {} {}".format,
    NAMES,
    st.sampled_from(["eq", "EQ", "gt", "pr"]),
    st.one_of(NAMES, st.builds('"{}"'.format, NAMES)),
)


@for_all(BODIES)
@how(max_examples=400, deadline=None)
def test_a_bodys_quirks_are_in_words_of_ours(body: dict[str, Any]) -> None:
    quirks: list[str] = []
    with suppress(Refusal):
        resource.read(body, USERS, quirks)

    assert set(quirks) <= OURS


@for_all(st.lists(OPERATIONS, max_size=4), BODIES)
@how(max_examples=400, deadline=None)
def test_a_patchs_quirks_are_in_words_of_ours(operations: list[Any], body: dict[str, Any]) -> None:
    quirks: list[str] = []
    with suppress(Refusal):
        found = patch.read({**body, "Operations": operations}, USERS, quirks)
        patch.apply(found, {})
        quirks += patch.made(found, {})

    assert set(quirks) <= OURS


@for_all(FILTERS)
@how(max_examples=400, deadline=None)
def test_a_filters_quirks_are_in_words_of_ours(text: str) -> None:
    quirks: list[str] = []
    with suppress(Refusal):
        found = filter_parser.parse(text, USERS, quirks)
        quirks += [resource.unknown(name, USERS) for name in filters.unknown_names(found)]

    assert set(quirks) <= OURS
