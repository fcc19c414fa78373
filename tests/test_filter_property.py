"""Filters at random over every attribute: whom SQL finds is whom the words of the RFC choose."""

import json
import os
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from engine import extensions, filters
from engine.catalog import users_of
from engine.refusals import InvalidFilter
from engine.schema import CORE, ENTERPRISE
from engine.settings import Extension, Settings
from engine.user import User
from projections.users import Users, row_of
from tests.scim_words import (
    ATTRIBUTES,
    DOCUMENT,
    URN,
    VALUES,
    Json,
    Tree,
    compare,
    documents,
    holds,
    in_element,
    leaves,
    operators_for,
    simple,
    subs_of,
    text_of,
    trees,
)
from tests.scim_words import tests_of as filters_of

EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
CATALOG = users_of(Settings(schemas=(Extension(extensions.read(DOCUMENT)),)))
CREATED = datetime(2026, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC)


def _known(type_: str, *, exact: bool = False) -> Json:
    return {"name": "", "type": type_, "multiValued": False, "caseExact": exact, "canonicalValues": [], "subs": {}}


META = {  # what the service knows about everybody
    "active": _known("boolean"),
    "id": _known("string", exact=True),
    "meta.created": _known("dateTime"),
    "meta.lastModified": _known("dateTime"),
    "meta.resourceType": _known("string", exact=True),
    "meta.version": _known("string", exact=True),
}


def shown(user: User, name: str) -> Any:
    match name:
        case "active":
            return user.active
        case "id":
            return str(user.id)
        case "meta.resourceType":
            return "User"
        case "meta.version":
            return f'W/"{user.version}"'
        case _:
            at = user.created_at if name == "meta.created" else user.modified_at
            assert at is not None
            return at.isoformat(timespec="milliseconds")


def fulfils(document: Json, user: User, test: Tree) -> bool:
    """Whether a person fulfils one comparison; of a list, whether any of its elements does (RFC 7644 §3.4.2.2)."""
    if test[0] == "some":
        attribute = ATTRIBUTES[test[1]]
        return any(in_element(test[2], each, attribute) for each in document.get(test[1], []))
    name = test[1]
    if name == "schemas":
        used = {each.rpartition(":")[0] for each in document if ":" in each}
        return any(compare(_known("string"), each, test[2], test[3]) for each in {CORE, *used})
    if name in META:
        return test[0] == "pr" or compare(META[name], shown(user, name), test[2], test[3])
    sub = ""
    if name not in ATTRIBUTES:
        name, _, sub = name.rpartition(".")
    attribute = ATTRIBUTES[name]
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
def comparisons(draw: st.DrawFn) -> Tree:
    names = st.sampled_from(sorted(ATTRIBUTES)) | st.sampled_from([*META, "schemas"])
    name = draw(names)
    if name == "schemas":
        urn = draw(st.sampled_from([CORE, URN.upper(), ENTERPRISE, "enterprise"]))
        return ("is", name, draw(st.sampled_from(["eq", "ne", "co", "sw", "ew"])), urn)
    if name in META:
        return draw(_on_known(name))
    attribute = ATTRIBUTES[name]
    if attribute["multiValued"] and draw(st.booleans()):
        return ("some", name, draw(trees(filters_of(subs_of(attribute)), 3)))
    if draw(st.integers(0, 4)) == 0:
        return ("pr", name)
    if attribute["subs"]:
        sub = draw(st.sampled_from(sorted(attribute["subs"])))
        one = draw(filters_of({sub: attribute["subs"][sub]}))
        return (one[0], f"{name}.{sub}", *one[2:])
    value = None if draw(st.integers(0, 4)) == 0 else draw(simple(attribute))
    operators = ["eq", "ne"] if value is None else operators_for(attribute)
    return ("is", name, draw(st.sampled_from(operators)), value)


@st.composite
def _on_known(draw: st.DrawFn, name: str) -> Tree:
    match name:
        case "meta.version":
            value = draw(st.sampled_from(['W/"1"', 'W/"2"', 'w/"1"', "W/"]))
        case "meta.resourceType":
            value = draw(st.sampled_from(["User", "user", "Us"]))
        case "id":
            value = draw(st.sampled_from("0123456789abcdefABCDEF"))
        case _:
            value = draw(simple(META[name]))
    return ("is", name, draw(st.sampled_from(operators_for(META[name]))), value)


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


@how(
    max_examples=EXAMPLES or 150,
    deadline=None,
    database=None,
    derandomize=not EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    documents=st.tuples(*(people(place) for place in range(4))),
    asked=st.lists(trees(comparisons(), 4), min_size=4, max_size=8),
)
async def test_sql_finds_whom_the_words_of_the_rfc_choose(
    owner: asyncpg.Connection, documents: tuple[tuple[Json, User], ...], asked: list[Tree]
) -> None:
    tenant_id = uuid4()
    rows = msgspec.json.encode([row_of(user) for _, user in documents]).decode()
    await owner.execute("SET search_path = rollbook")
    await owner.execute("SELECT put_users($1, now(), $2)", tenant_id, rows)

    for tree in asked:
        text = text_of(tree)
        page = await Users(owner).find(tenant_id, filters.parse(text, CATALOG), limit=100)
        chosen = [user.id for document, user in documents if holds(tree, partial(fulfils, document, user))]
        assert sorted(user.id for user in page.users) == sorted(chosen), text


@pytest.mark.parametrize(("name", "attribute"), [(name, each) for name, each in ATTRIBUTES.items() if not each["subs"]])
def test_an_operator_that_a_type_does_not_know_is_refused(name: str, attribute: Json) -> None:
    value = json.dumps(VALUES[attribute["type"]][0])
    for operator in ("eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"):
        text = f"{name} {operator} {value}"
        if operator in operators_for(attribute):
            filters.parse(text, CATALOG)
        else:
            with pytest.raises(InvalidFilter):
                filters.parse(text, CATALOG)
