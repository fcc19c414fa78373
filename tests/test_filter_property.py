"""Filters at random over every attribute: what SQL finds is what the words of the RFC choose."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from engine import extensions, filter_parser
from engine.catalog import groups_of, users_of
from engine.group import Group
from engine.refusals import InvalidFilter
from engine.schema import CORE, ENTERPRISE, GROUP_URN
from engine.settings import Extension, Settings
from engine.user import User
from projections.groups import Groups
from projections.groups import row_of as row_of_group
from projections.users import Users, row_of
from tests.scim_words import (
    ATTRIBUTES,
    DOCUMENT,
    OF_GROUPS,
    URN,
    VALUES,
    Json,
    Tree,
    compare,
    documents,
    filters_within,
    holds,
    in_element,
    leaves,
    operators_for,
    simple,
    subs_of,
    text_of,
    trees,
)
from tests.scim_words import values as values_of

EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
CREATED = datetime(2026, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC)
SCHEMA = extensions.read(DOCUMENT)
SETTINGS = Settings(schemas=(Extension(SCHEMA), Extension(SCHEMA, "Group")))
BASE = "https://rollbook.example/scim/v2"
MEMBERS = [UUID(int=number << 64) for number in range(1, 4)]
AWAITED = ["E-17", "e-17", "e-18"]


def _known(type_: str, *, exact: bool = False) -> Json:
    return {"name": "", "type": type_, "multiValued": False, "caseExact": exact, "canonicalValues": [], "subs": {}}


@dataclass(frozen=True)
class Kind:
    """A type of resource: its schema, its attributes, those of them that the service knows, and what it may be asked.

    `words` are values for names that have some of their own, `words_within` those within elements of a list.
    """

    core: str
    attributes: dict[str, Json]
    known: dict[str, Json]
    words: dict[str, list[Any]]
    words_within: dict[str, dict[str, list[Any]]] = field(default_factory=dict)


META = {
    "id": _known("string", exact=True),
    "meta.created": _known("dateTime"),
    "meta.lastModified": _known("dateTime"),
    "meta.resourceType": _known("string", exact=True),
    "meta.version": _known("string", exact=True),
}
_WORDS: dict[str, list[Any]] = {
    "id": list("0123456789abcdefABCDEF"),
    "meta.version": ['W/"1"', 'W/"2"', 'w/"1"', "W/"],
    "meta.resourceType": ["User", "Group", "user", "Us"],
    "schemas": [CORE, GROUP_URN, URN.upper(), ENTERPRISE, "enterprise"],
}
PEOPLE = Kind(CORE, ATTRIBUTES, {**META, "active": _known("boolean")}, _WORDS)
GROUPS = Kind(
    GROUP_URN,
    OF_GROUPS,
    META,
    _WORDS,
    {
        "members": {
            "value": [*AWAITED, *map(str, MEMBERS), str(MEMBERS[0]).upper(), "0000"],
            "$ref": [f"{BASE}/Users/{MEMBERS[0]}", f"{BASE}/Groups/{MEMBERS[0]}", f"{BASE}/Users"],
            "type": ["User", "group", "Us"],
        }
    },
)


def known_of(found: User | Group) -> Json:
    """What the service knows about everybody, and every group."""
    assert found.created_at
    assert found.modified_at
    return {
        "id": str(found.id),
        "meta.created": found.created_at.isoformat(timespec="milliseconds"),
        "meta.lastModified": found.modified_at.isoformat(timespec="milliseconds"),
        "meta.resourceType": type(found).__name__,
        "meta.version": f'W/"{found.version}"',
        **({"active": found.active} if isinstance(found, User) else {}),
    }


def fulfils(kind: Kind, document: Json, known: Json, test: Tree) -> bool:
    """Whether a resource fulfils one comparison; of a list, whether any of its elements does (RFC 7644 §3.4.2.2)."""
    if test[0] == "some":
        attribute = kind.attributes[test[1]]
        return any(in_element(test[2], each, attribute) for each in document.get(test[1], []))
    name = test[1]
    if name == "schemas":
        used = {each.rpartition(":")[0] for each in document if ":" in each}
        return any(compare(_known("string"), each, test[2], test[3]) for each in {kind.core, *used})
    if name in kind.known:
        return test[0] == "pr" or compare(kind.known[name], known[name], test[2], test[3])
    sub = ""
    if name not in kind.attributes:
        name, _, sub = name.rpartition(".")
    attribute = kind.attributes[name]
    value: Any = document.get(name)
    if not attribute["multiValued"]:
        value = (value or {}).get(sub) if sub else value
        meant = attribute["subs"][sub] if sub else attribute
        return value is not None if test[0] == "pr" else compare(meant, value, test[2], test[3])
    if test[0] == "pr" and not sub:
        return bool(value)
    if not sub and test[3] is None:  # RFC 7643 §2.5: an empty list is no value
        return bool(bool(value) == (test[2] == "ne"))
    inner = ("pr", sub or "value") if test[0] == "pr" else ("is", sub or "value", test[2], test[3])
    return any(in_element(inner, each, attribute) for each in value or [])


@st.composite
def comparisons(draw: st.DrawFn, kind: Kind) -> Tree:
    name = draw(st.sampled_from(sorted(kind.attributes)) | st.sampled_from([*kind.known, "schemas"]))
    if name == "schemas":
        return ("is", name, draw(st.sampled_from(["eq", "ne", "co", "sw", "ew"])), draw(words(kind, name)))
    if name in kind.known:
        operator = draw(st.sampled_from(operators_for(kind.known[name])))
        return ("is", name, operator, draw(words(kind, name) if name in kind.words else simple(kind.known[name])))
    attribute, within = kind.attributes[name], kind.words_within.get(name)
    if attribute["multiValued"] and draw(st.booleans()):
        return ("some", name, draw(trees(filters_within(subs_of(attribute), within), 3)))
    if draw(st.integers(0, 4)) == 0:
        return ("pr", name)
    if attribute["subs"]:
        sub = draw(st.sampled_from(sorted(attribute["subs"])))
        one = draw(filters_within({sub: attribute["subs"][sub]}, within))
        return (one[0], f"{name}.{sub}", *one[2:])
    value = None if draw(st.integers(0, 4)) == 0 else draw(simple(attribute))
    operators = ["eq", "ne"] if value is None else operators_for(attribute)
    return ("is", name, draw(st.sampled_from(operators)), value)


def words(kind: Kind, name: str) -> st.SearchStrategy[Any]:
    return st.sampled_from(kind.words[name])


@st.composite
def people(draw: st.DrawFn, place: int) -> tuple[Json, User]:
    document = {**draw(documents()), "userName": draw(simple(ATTRIBUTES["userName"])) + str(place)}
    if "microsoftId" in document:  # unique
        document["microsoftId"] += str(place)
    created = CREATED + draw(st.integers(-3, 3)) * timedelta(hours=8)
    user = User(
        id=uuid4(),
        version=draw(st.integers(1, 2)),
        attributes=leaves(document),
        active=draw(st.booleans()),
        role="member",
        origins={},
        created_at=created,
        modified_at=created + draw(st.integers(0, 2)) * timedelta(days=1),
    )
    return document, user


@st.composite
def groups(draw: st.DrawFn, place: int) -> tuple[Json, Group]:
    names = draw(
        st.lists(st.sampled_from(sorted(set(OF_GROUPS) - {"displayName", "members"})), unique=True, max_size=6)
    )
    values = {name: draw(values_of(OF_GROUPS[name])) for name in names if OF_GROUPS[name]["mutability"] != "readOnly"}
    if any(name.startswith("urn:") for name in values):
        values[f"{URN}:badge"] = draw(simple(OF_GROUPS[f"{URN}:badge"]))
    members: list[UUID | str] = draw(st.lists(st.sampled_from([*MEMBERS, *AWAITED]), unique=True, max_size=4))
    document = {"displayName": draw(simple(OF_GROUPS["displayName"])), **values}
    if "externalId" in document:  # unique
        document["externalId"] += str(place)
    created = CREATED + draw(st.integers(-3, 3)) * timedelta(hours=8)
    group = Group(
        id=uuid4(),
        version=draw(st.integers(1, 2)),
        attributes=leaves(document),
        created_at=created,
        modified_at=created + draw(st.integers(0, 2)) * timedelta(days=1),
    )
    types = [draw(st.sampled_from(["User", "Group"])) for _ in members]
    shown = [element_of(each, type_) for each, type_ in zip(members, types, strict=True)]
    return {**document, **({"members": shown} if members else {})}, group


def element_of(member: UUID | str, type_: str) -> Json:
    """Who has not arrived is a value alone."""
    if isinstance(member, str):
        return {"value": member}
    return {"value": str(member), "type": type_, "$ref": f"{BASE}/{type_}s/{member}"}


def rows_of_members(document: Json, group: Group) -> list[Json]:
    return [
        {
            "group_id": group.id,
            "member_id": each["value"] if "type" in each else uuid4(),
            "type": each.get("type"),
            "value": None if "type" in each else each["value"],
            "is_gone": False,
        }
        for each in document.get("members", [])
    ]


often = how(
    max_examples=EXAMPLES or 150,
    deadline=None,
    database=None,
    derandomize=not EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@often
@given(
    documents=st.tuples(*(people(place) for place in range(4))),
    asked=st.lists(trees(comparisons(PEOPLE), 4), min_size=4, max_size=8),
)
async def test_sql_finds_whom_the_words_of_the_rfc_choose(
    owner: asyncpg.Connection, documents: tuple[tuple[Json, User], ...], asked: list[Tree]
) -> None:
    tenant_id, catalog = uuid4(), users_of(SETTINGS)
    rows = msgspec.json.encode([row_of(user) for _, user in documents]).decode()
    await owner.execute("SET search_path = rollbook")
    await owner.execute("SELECT put_users($1, now(), $2)", tenant_id, rows)

    for tree in asked:
        text = text_of(tree)
        page = await Users(owner).find(tenant_id, filter_parser.parse(text, catalog), limit=100)
        assert sorted(user.id for user in page.users) == chosen(PEOPLE, documents, tree), text


@often
@given(
    documents=st.tuples(*(groups(place) for place in range(4))),
    asked=st.lists(trees(comparisons(GROUPS), 4), min_size=4, max_size=8),
)
async def test_sql_finds_the_groups_that_the_words_of_the_rfc_choose(
    owner: asyncpg.Connection, documents: tuple[tuple[Json, Group], ...], asked: list[Tree]
) -> None:
    tenant_id, catalog = uuid4(), groups_of(SETTINGS)
    rows = msgspec.json.encode([row_of_group(group) for _, group in documents]).decode()
    members = msgspec.json.encode([row for found in documents for row in rows_of_members(*found)]).decode()
    await owner.execute("SET search_path = rollbook")
    await owner.execute("SELECT put_groups($1, now(), $2), put_members($1, now(), $3)", tenant_id, rows, members)

    for tree in asked:
        text = text_of(tree)
        page = await Groups(owner).find(tenant_id, filter_parser.parse(text, catalog), limit=100, base=BASE)
        assert sorted(group.id for group in page.groups) == chosen(GROUPS, documents, tree), text


def chosen(kind: Kind, documents: Sequence[tuple[Json, User | Group]], tree: Tree) -> list[UUID]:
    return sorted(
        found.id for document, found in documents if holds(tree, partial(fulfils, kind, document, known_of(found)))
    )


@pytest.mark.parametrize(("name", "attribute"), [(name, each) for name, each in ATTRIBUTES.items() if not each["subs"]])
def test_an_operator_that_a_type_does_not_know_is_refused(name: str, attribute: Json) -> None:
    value = json.dumps(VALUES[attribute["type"]][0])
    for operator in ("eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"):
        text = f"{name} {operator} {value}"
        if operator in operators_for(attribute):
            filter_parser.parse(text, users_of(SETTINGS))
        else:
            with pytest.raises(InvalidFilter):
                filter_parser.parse(text, users_of(SETTINGS))
