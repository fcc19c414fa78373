"""Filters against real rows: what SQL finds is what the filter says, whatever stands in the values."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import filter_parser
from engine.catalog import USERS
from engine.schema import CORE, ENTERPRISE, ROLLBOOK
from engine.user import User
from projections.users import Users, row_of
from tests.conftest import Directory

CREATED = datetime(2026, 11, 23, 9, 0, 0, 123_456, tzinfo=UTC)


def person(
    name: str,
    leaves: dict[str, Any] | None = None,
    *,
    active: bool = True,
    role: str = "member",
    days: int = 0,
    **attributes: Any,
) -> User:
    """A user created some days after CREATED; `leaves` are attributes whose keys are no names in Python."""
    return User(
        id=uuid4(),
        version=1 + days,
        attributes={"userName": name, **attributes, **(leaves or {})},
        active=active,
        role=role,
        origins={},
        created_at=CREATED + timedelta(days=days),
        modified_at=CREATED + timedelta(days=2 * days),
    )


class People:
    """The people of one tenant, as rows of the database."""

    def __init__(self, owner: asyncpg.Connection) -> None:
        self._owner = owner
        self.tenant_id = uuid4()

    async def add(self, *users: User) -> None:
        rows = msgspec.json.encode([row_of(user) for user in users]).decode()
        await self._owner.execute("SET search_path = rollbook")
        await self._owner.execute("SELECT put_users($1, now(), $2)", self.tenant_id, rows)

    async def find(self, text: str) -> list[str]:
        """The names of those whom the filter finds."""
        page = await Users(self._owner).find(self.tenant_id, filter_parser.parse(text, USERS), offset=0, limit=1_000)
        assert page.total == len(page.users)
        return sorted(user.attributes["userName"] for user in page.users)


@pytest.fixture
def people(owner: asyncpg.Connection) -> People:
    return People(owner)


def email(value: str | None, kind: str | None = "work", *, primary: bool | None = None) -> dict[str, Any]:
    given = {"value": value, "type": kind, "primary": primary}
    return {name: each for name, each in given.items() if each is not None}


MANAGER = f"{ENTERPRISE}:manager"
ANN = person(
    "Ann@Contoso.example",
    {
        "name.familyName": "O'Neill",
        "name.givenName": "Ann",
        f"{ENTERPRISE}:employeeNumber": "E-1",
        f"{MANAGER}.value": "Boss-1",
    },
    title="Engineer",
    externalId="Ext-1",
    microsoftId="ABC-1",
    role="admin",
    profileUrl="https://x.example/Ann",
    emails=[email("ann@work.example", primary=True), email("ann@home.example", "home")],
    addresses=[{"locality": "Bern", "type": "work"}],
)
BOB = person(
    "bob",
    active=False,
    days=1,
    title="Senior Engineer",
    externalId="ext-1",
    emails=[email("bob@home.example", "home"), email("bob@work.example", "WORK", primary=False)],
    phoneNumbers=[{"value": "+41 1"}],
)
EVE = person(
    "eve", {"name.formatted": "Eve"}, days=2, title="manager", emails=[email("eve@1.example"), email("eve@2.example")]
)
ZOE = person("zoë", days=3, displayName="Zoë")
A, B, E, Z = (user.attributes["userName"] for user in (ANN, BOB, EVE, ZOE))

FOUND: dict[str, list[str]] = {
    # Strings, one operator after the other; without regard to case.
    'title eq "ENGINEER"': [A],
    'title ne "engineer"': [B, E, Z],
    'title co "ENG"': [A, B],
    'title sw "sen"': [B],
    'title ew "neer"': [A, B],
    'title gt "engineer"': [B, E],
    'title ge "engineer"': [A, B, E],
    'title lt "manager"': [A],
    'title le "MANAGER"': [A, E],
    "title pr": [A, B, E],
    'title co ""': [A, B, E],
    'title eq ""': [],
    # What has no value.
    "title eq null": [Z],
    "title ne null": [A, B, E],
    "emails eq null": [Z],
    "addresses ne null": [A],
    "photos eq null and emails pr": [A, B, E],
    'not (title eq "engineer")': [B, E, Z],
    'not (title co "eng")': [E, Z],
    "not (title pr)": [Z],
    'not (not (title co "eng"))': [A, B],
    'unknown eq "x"': [],
    'not (unknown eq "x")': [A, B, E, Z],
    "unknown pr or title pr": [A, B, E],
    # Columns of their own.
    'userName eq "ANN@contoso.EXAMPLE"': [A],
    'userName co "CONTOSO"': [A],
    'userName sw "e"': [E],
    "userName pr": [A, B, E, Z],
    'microsoftId eq "abc-1"': [A],
    "microsoftId pr": [A],
    'microsoftId ne "abc-1"': [B, E, Z],
    'externalId eq "Ext-1"': [A],
    'externalId eq "EXT-1"': [],
    'externalId co "xt-1"': [A, B],
    'externalId gt "F"': [B],
    f'{ENTERPRISE}:employeeNumber eq "e-1"': [A],
    'role eq "ADMIN"': [A],
    'role ne "admin"': [B, E, Z],
    'urn:ietf:params:scim:schemas:core:2.0:User:role sw "mem"': [B, E, Z],
    f'id eq "{ANN.id}"': [A],
    f'id eq "{str(ANN.id).upper()}"': [],
    f'id eq "{{{ANN.id}}}"': [],
    'id eq "no id"': [],
    'not (id eq "no id")': [A, B, E, Z],
    f'id sw "{str(ANN.id)[:23]}"': [A],
    f'id ne "{ANN.id}"': [B, E, Z],
    'meta.version eq "W/\\"1\\""': [A],
    'meta.resourceType eq "User"': [A, B, E, Z],
    "meta pr": [A, B, E, Z],
    # Booleans.
    "active eq true": [A, E, Z],
    'active eq "False"': [B],
    "active ne true": [B],
    "not (active eq true)": [B],
    "active pr": [A, B, E, Z],
    # Times, to the millisecond that is shown.
    'meta.created eq "2026-11-23T09:00:00.123Z"': [A],
    'meta.created eq "2026-11-23T10:00:00.123+01:00"': [A],
    'meta.created ne "2026-11-23T09:00:00.123Z"': [B, E, Z],
    'meta.created gt "2026-11-23T09:00:00.123Z"': [B, E, Z],
    'meta.created ge "2026-11-24T09:00:00.123"': [B, E, Z],
    'meta.created lt "2026-11-24"': [A],
    'meta.created le "2026-11-24T09:00:00.123Z"': [A, B],
    'meta.lastModified gt "2026-11-25T12:00:00Z"': [E, Z],
    # Cases that matter: references, ids of others.
    'profileUrl eq "https://x.example/Ann"': [A],
    'profileUrl eq "https://x.example/ann"': [],
    'manager eq "Boss-1"': [A],
    'manager.value eq "boss-1"': [],
    'manager[value eq "Boss-1"]': [A],
    "manager pr": [A],
    # Sub-attributes.
    'name.familyName eq "o\'neill"': [A],
    'name[familyName sw "O" and givenName eq "ann"]': [A],
    "name pr": [A, E],
    "not (name pr)": [B, Z],
    "name eq null": [B, Z],
    # Of several values, any.
    'emails eq "ann@HOME.example"': [A],
    'emails.value ew "home.example"': [A, B],
    'emails.value ne "eve@1.example"': [A, B, E],
    'not (emails.value eq "eve@1.example")': [A, B, Z],
    'emails.type eq "home"': [A, B],
    "emails.primary eq true": [A],
    "emails.primary eq false": [A, B, E],
    "emails pr": [A, B, E],
    "addresses pr": [A],
    'addresses.locality eq "bern"': [A],
    "phoneNumbers.type pr": [],
    # Value paths: one element fulfils it all.
    'emails[type eq "work" and value co "home"]': [],
    'emails[type eq "work"].value eq "BOB@work.example"': [B],
    'emails[type eq "work"].value eq "eve@2.example"': [E],
    'emails[type eq "work"].value eq "ann@home.example"': [],
    'emails[type eq "home" and value eq "bob@home.example"]': [B],
    'emails[value eq "bob@work.example" and type eq "work"]': [B],
    'not (emails[type eq "work" and value eq "bob@work.example"])': [A, E, Z],
    'emails[type eq "work" and value eq "ann@work.example" and primary eq true]': [A],
    'emails[type eq "work" and not (primary eq true)]': [B, E],
    'emails[not (type eq "work")]': [A, B],
    'emails[type eq "home" or primary eq true].value sw "ann"': [A],
    'phoneNumbers[not (type eq "work")]': [B],
    'emails[unknown eq "x"]': [],
    # Other letters than ASCII's.
    'userName eq "ZOË"': [Z],
    'displayName eq "zOË"': [Z],
    'displayName eq "Zoe"': [],
    'displayName co "Ë"': [Z],
    # And binds tighter than or.
    'title eq "engineer" or active eq false and title eq "manager"': [A],
    '(title eq "engineer" or active eq false) and title sw "s"': [B],
}


async def test_each_filter_finds_whom_it_describes(people: People) -> None:
    await people.add(ANN, BOB, EVE, ZOE)

    found = {text: await people.find(text) for text in FOUND}

    assert found == {text: sorted(names) for text, names in FOUND.items()}


async def test_deleted_people_and_those_of_other_tenants_are_never_found(
    people: People, owner: asyncpg.Connection
) -> None:
    gone = msgspec.structs.replace(BOB, is_deleted=True, deleted_at=CREATED)
    await people.add(ANN, gone)
    await People(owner).add(EVE)

    for text in ("userName pr", 'not (userName eq "x")', 'unknown pr or not (title eq "x")', f'id eq "{BOB.id}"'):
        assert await people.find(text) == ([A] if "id eq" not in text else [])


ODD = [
    "%",
    "_",
    "a%",
    "a_",
    "\\",
    "\\\\",
    "'",
    "''",
    '"',
    "$1",
    "{0}",
    "{condition}",
    "%s",
    "'; drop table x; --",
    "ab",
    "*",
    "?",
    "/*",
    "é",
]


async def test_nothing_in_a_value_has_a_meaning_of_its_own(people: People) -> None:
    await people.add(*(person(f"p{place}", title=odd, nickName=f"-{odd}-") for place, odd in enumerate(ODD)))

    for place, odd in enumerate(ODD):
        quoted = json.dumps(odd)
        assert await people.find(f"title eq {quoted}") == [f"p{place}"]
        for operator in ("co", "sw", "ew"):
            expected = sorted(f"p{each}" for each, other in enumerate(ODD) if _TESTS[operator](other, odd))
            assert await people.find(f"title {operator} {quoted}") == expected
        assert await people.find(f"nickName eq {json.dumps(f'-{odd}-')}") == [f"p{place}"]


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda left, right: left == right,
    "ne": lambda left, right: left != right,
    "co": lambda left, right: right in left,
    "sw": lambda left, right: left.startswith(right),
    "ew": lambda left, right: left.endswith(right),
    "gt": lambda left, right: left > right,
    "ge": lambda left, right: left >= right,
    "lt": lambda left, right: left < right,
    "le": lambda left, right: left <= right,
}


# The same once more at random, against an evaluator that is slow and obvious.

TEXTS = st.text(st.sampled_from("aAbBéÉ%_\\'\" "), min_size=1, max_size=3)
TIMES = st.integers(0, 5).map(lambda days: CREATED.replace(microsecond=0) + timedelta(days=days))

NAMES = {  # of an attribute, by the key of its value
    "userName": "userName",
    "title": "title",
    "externalId": "externalId",
    "profileUrl": "profileUrl",
    "microsoftId": "microsoftId",
    "name.familyName": "name.familyName",
    "urn:ietf:params:scim:schemas:core:2.0:User:name.givenName": "name.givenName",
    f"{ENTERPRISE}:employeeNumber": f"{ENTERPRISE}:employeeNumber",
    "manager.value": f"{MANAGER}.value",
}
EXACT = {"externalId", "profileUrl", f"{MANAGER}.value"}
LISTS = {"emails": ("value", "display", "type"), "photos": ("value", "type"), "addresses": ("formatted", "locality")}
EXACT_IN_LISTS = {("photos", "value")}


class Term:
    """A filter as text, and whether it holds for a user."""

    def __init__(self, text: str, holds: Callable[[User], bool]) -> None:
        self.text = text
        self.holds = holds


@dataclass
class Inner:
    """A filter on one element of a list."""

    text: str
    holds: Callable[[dict[str, Any]], bool]


def compare(left: str | None, operator: str, right: str, *, exact: bool) -> bool:
    if left is None:
        return operator == "ne"
    return _TESTS[operator](left, right) if exact else _TESTS[operator](left.lower(), right.lower())


OPERATORS = st.sampled_from(sorted(_TESTS))


@st.composite
def on_a_string(draw: st.DrawFn) -> Term:
    name, operator, text = draw(st.sampled_from(sorted(NAMES))), draw(OPERATORS), draw(TEXTS)
    key = NAMES[name]
    return Term(
        f"{name} {operator} {json.dumps(text)}",
        lambda user: compare(user.attributes.get(key), operator, text, exact=key in EXACT),
    )


@st.composite
def on_presence(draw: st.DrawFn) -> Term:
    name = draw(st.sampled_from(sorted(NAMES)))
    key = NAMES[name]
    text, expected = draw(
        st.sampled_from([(f"{name} pr", True), (f"{name} ne null", True), (f"{name} eq null", False)])
    )
    return Term(text, lambda user: (key in user.attributes) == expected)


@st.composite
def on_a_boolean(draw: st.DrawFn) -> Term:
    operator, value = draw(st.sampled_from(["eq", "ne"])), draw(st.booleans())
    return Term(f"active {operator} {json.dumps(value)}", lambda user: _TESTS[operator](user.active, value))


@st.composite
def on_a_time(draw: st.DrawFn) -> Term:
    operator, at = draw(st.sampled_from(["eq", "ne", "gt", "ge", "lt", "le"])), draw(TIMES)
    return Term(
        f"meta.created {operator} {json.dumps(at.isoformat())}", lambda user: _TESTS[operator](user.created_at, at)
    )


@st.composite
def on_an_element(draw: st.DrawFn, key: str) -> Inner:
    kind = draw(st.sampled_from(["text", "text", "present", "primary"]))
    if kind == "primary":
        operator, value = draw(st.sampled_from(["eq", "ne"])), draw(st.booleans())
        return Inner(
            f"primary {operator} {json.dumps(value)}",
            lambda element: _TESTS[operator](element.get("primary", False), value),
        )
    sub = draw(st.sampled_from(LISTS[key]))
    if kind == "present":
        return Inner(f"{sub} pr", lambda element: sub in element)
    operator, text = draw(OPERATORS), draw(TEXTS | st.just("work"))
    exact = (key, sub) in EXACT_IN_LISTS
    return Inner(
        f"{sub} {operator} {json.dumps(text)}",
        lambda element: compare(element.get(sub), operator, text, exact=exact),
    )


def inner(key: str) -> st.SearchStrategy[Inner]:
    return st.recursive(
        on_an_element(key),
        lambda inners: st.one_of(
            st.builds(lambda one: Inner(f"not ({one.text})", lambda element: not one.holds(element)), inners),
            st.builds(
                lambda one, two: Inner(
                    f"({one.text} and {two.text})", lambda each: one.holds(each) and two.holds(each)
                ),
                inners,
                inners,
            ),
            st.builds(
                lambda one, two: Inner(f"({one.text} or {two.text})", lambda each: one.holds(each) or two.holds(each)),
                inners,
                inners,
            ),
        ),
        max_leaves=3,
    )


@st.composite
def on_a_list(draw: st.DrawFn) -> Term:
    key = draw(st.sampled_from(sorted(LISTS)))
    chosen = draw(inner(key))
    form = draw(st.sampled_from(["path", "path and sub", "sub"]))
    if form == "path":
        return Term(f"{key}[{chosen.text}]", lambda user: any(map(chosen.holds, user.attributes.get(key, ()))))
    sub = draw(on_an_element(key))
    if form == "sub":
        return Term(f"{key}.{sub.text}", lambda user: any(map(sub.holds, user.attributes.get(key, ()))))
    return Term(
        f"{key}[{chosen.text}].{sub.text}",
        lambda user: any(chosen.holds(each) and sub.holds(each) for each in user.attributes.get(key, ())),
    )


@st.composite
def on_a_work_address(draw: st.DrawFn) -> Term:
    text = draw(TEXTS)
    return Term(
        f'emails[type eq "work"].value eq {json.dumps(text)}',
        lambda user: any(
            each.get("type", "").lower() == "work" and each.get("value", "").lower() == text.lower()
            for each in user.attributes.get("emails", ())
        ),
    )


TERMS = st.recursive(
    st.one_of(on_a_string(), on_presence(), on_a_boolean(), on_a_time(), on_a_list(), on_a_work_address()),
    lambda terms: st.one_of(
        st.builds(lambda one: Term(f"not ({one.text})", lambda user: not one.holds(user)), terms),
        st.builds(
            lambda one, two: Term(f"({one.text} and {two.text})", lambda user: one.holds(user) and two.holds(user)),
            terms,
            terms,
        ),
        st.builds(
            lambda one, two: Term(f"({one.text} or {two.text})", lambda user: one.holds(user) or two.holds(user)),
            terms,
            terms,
        ),
    ),
    max_leaves=4,
)


@st.composite
def elements(draw: st.DrawFn, key: str) -> list[dict[str, Any]]:
    """As values.typed makes them: never empty, at most one of them primary."""
    found: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 3))):
        values = TEXTS | st.sampled_from(["work", "WORK"])
        element: dict[str, Any] = draw(st.dictionaries(st.sampled_from(LISTS[key]), values, min_size=1))
        if draw(st.booleans()):
            element["primary"] = draw(st.booleans()) and not any(each.get("primary") for each in found)
        found.append(element)
    return found


@st.composite
def users(draw: st.DrawFn, place: int) -> User:
    attributes: dict[str, Any] = draw(st.dictionaries(st.sampled_from(sorted(NAMES.values())), TEXTS))
    for key in draw(st.sets(st.sampled_from(sorted(LISTS)))):
        attributes[key] = draw(elements(key))
    if "microsoftId" in attributes:  # unique
        attributes["microsoftId"] += str(place)
    attributes["userName"] = draw(TEXTS) + str(place)
    return User(
        id=uuid4(),
        version=1,
        attributes=attributes,
        active=draw(st.booleans()),
        role="member",
        origins={},
        created_at=draw(TIMES),
        modified_at=CREATED,
    )


@settings(
    max_examples=150,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(documents=st.tuples(*(users(place) for place in range(4))), terms=st.lists(TERMS, min_size=3, max_size=6))
async def test_sql_finds_what_the_obvious_evaluator_finds(
    owner: asyncpg.Connection, documents: tuple[User, ...], terms: list[Term]
) -> None:
    people = People(owner)
    await people.add(*documents)

    for term in terms:
        expected = sorted(user.attributes["userName"] for user in documents if term.holds(user))
        assert await people.find(term.text) == expected, term.text


async def test_a_resource_is_found_by_the_schemas_that_it_declares(directory: Directory) -> None:
    ann = await directory.create("ann", **{ENTERPRISE: {"department": "Retail"}})
    bob = await directory.create("bob", **{ROLLBOOK: {"role": "admin"}})

    async def found(text: str) -> list[str]:
        response = await directory.request("GET", "/scim/v2/Users?" + urlencode({"filter": text}))
        return [each["id"] for each in response.json()["Resources"]]

    assert await found(f'schemas eq "{CORE}"') == [ann, bob]
    assert await found(f'schemas eq "{ENTERPRISE.upper()}"') == [ann]
    assert await found(f'schemas eq "{ROLLBOOK}" or userName eq "ann"') == [ann, bob]
    assert await found('not (schemas co "enterprise")') == [bob]
