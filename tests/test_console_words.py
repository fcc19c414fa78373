"""What the console calls things, and how it writes values: for every event, and whatever a directory may send."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args
from uuid import UUID

import msgspec
import pytest

from api.console import html, words
from api.console.asking import Names
from api.v1_types import EventShown
from engine.events import TYPES, AuditAccessed, Change, EvidenceExported, RequestRefused, TokenRevoked, encode
from engine.settings import Role
from engine.streams import SOURCES
from projections.questions.attributes import Fate
from projections.questions.changes import Kind, PersonChanged

NOBODY = Names(people={}, groups={}, tokens={})


def shown(**fields: Any) -> EventShown:
    usual: dict[str, Any] = {
        "seq": 1,
        "user_id": None,
        "version": 1,
        "type": "AttributesChanged",
        "recorded_at": datetime(2026, 11, 23, tzinfo=UTC),
        "source": "directory",
        "actor": "a",
        "token_id": None,
        "request_id": UUID(int=1),
        "before": None,
        "after": None,
        "overwrote": {},
        "confirmed": {},
        "data": None,
    }
    return EventShown(**usual | fields)


def test_everything_that_can_happen_has_words() -> None:
    assert set(words.EVENTS) == set(TYPES)
    assert set(words.SOURCES) == set(SOURCES)
    assert set(words.FATES) == set(get_args(Fate))
    assert set(words.KINDS) == set(get_args(Kind))


def test_a_look_at_the_audit_is_no_local_edit() -> None:
    assert [words.source("local", each) for each in ("AttributesChanged", "AuditAccessed")] == ["local edit", "local"]


def test_an_event_of_a_later_version_is_called_by_its_type() -> None:
    assert words.event("SomethingNew") == "SomethingNew"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (RequestRefused("POST", "/scim/v2/Users", 409, "Taken."), "409: Taken."),
        (AuditAccessed(question="roster", rows=1_200), "roster, 1,200 rows"),
        (AuditAccessed(question="seat-changes", rows=1), "seat changes, 1 row"),
        (AuditAccessed(question="console:people", rows=0), "the list of people, 0 rows"),
        (AuditAccessed(question="console:sign-in", rows=0), "the console, by signing in"),
        (EvidenceExported(question="roster", rows=3, format="csv", sha256="0"), "roster, 3 rows as csv"),
        (TokenRevoked(UUID(int=3), "Entra"), ""),
    ],
)
def test_a_note_says_what_was_refused_or_looked_at(event: Any, text: str) -> None:
    assert words.told(shown(data=msgspec.Raw(encode(event).encode()))) == text


def test_an_event_without_content_says_nothing() -> None:
    assert words.told(shown(data=None)) == ""


def test_before_and_after_stand_side_by_side_for_each_attribute_of_either() -> None:
    event = shown(before={"title": "Engineer", "nickName": "A"}, after={"title": "Manager", "locale": "de"})
    assert words.compared(event, NOBODY) == [
        ("title", "Engineer", "Manager"),
        ("nickName", "A", None),
        ("locale", None, "de"),
    ]
    assert words.compared(shown(), NOBODY) == []


def test_members_are_called_by_their_names_and_of_many_it_is_said_how_many_more() -> None:
    ids = [UUID(int=number) for number in range(1, 13)]
    names = Names(people={ids[0]: "ann"}, groups={ids[1]: "Team"}, tokens={})
    event = shown(type="MembersAdded", after={"members": [str(each) for each in ids]})
    [(name, before, after)] = words.compared(event, names)
    assert (name, before) == ("members", None)
    assert after == ["ann", "Team", *map(str, ids[2:10]), "and 2 more"]
    awaited = shown(type="MemberAwaited", after={"members": ["E-17"]})
    assert words.compared(awaited, names) == [("members", None, ["E-17"])]


def test_a_person_differs_in_what_is_not_as_before() -> None:
    changed = PersonChanged(
        first_seq=1,
        user_id=UUID(int=2),
        user_name="ann",
        kinds=["role"],
        active=Change(True, True),
        role=Change("member", "admin"),
        is_deleted=Change(False, False),
        changes={"title": Change(None, "Engineer")},
        events=2,
    )
    assert words.differing(changed) == [("role", "member", "admin"), ("title", None, "Engineer")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("Ada", "Ada"),
        (True, "yes"),
        (False, "no"),
        (7, "7"),
        ([], ""),
        (datetime(2026, 11, 23, 9, tzinfo=UTC), "2026-11-23T09:00:00Z"),
        ((Role("owner", "Owner"), "a"), "owner; display Owner, a"),
        (["a", "b"], "a, b"),
        ({"value": "ada@x", "type": "work", "primary": True}, "ada@x (work, primary)"),
        ({"value": "ada@x", "primary": False}, "ada@x"),
        ([{"value": "1"}, {"value": "2", "type": "home"}], "1, 2 (home)"),
        ({"formatted": "Ada L", "givenName": "Ada"}, "Ada L; givenName Ada"),
        ({"value": "x", "display": "x"}, "x"),
        ({"givenName": "Ada", "familyName": "L"}, "givenName Ada; familyName L"),
        ({"primary": True}, "(primary)"),
        ({}, ""),
    ],
)
def test_a_value_is_written_as_one_would_say_it(value: Any, text: str) -> None:
    assert html.readable(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), ("Zoë", "Zoë"), (True, "true"), (1.5, "1.5"), ({"a": ["b"]}, '{"a":["b"]}')]
)
def test_a_value_in_a_form_is_itself_or_json(value: Any, text: str) -> None:
    assert html.plain(value) == text


def test_a_time_is_told_in_utc_with_the_exact_one_beside_it() -> None:
    at = datetime(2026, 11, 23, 1, 2, 3, 456_789, tzinfo=timezone(timedelta(hours=2)))
    assert html.moment(at) == (
        '<time datetime="2026-11-22T23:02:03.456789+00:00" title="2026-11-22 23:02:03.456 UTC">'
        "2026-11-22 23:02 UTC</time>"
    )
    assert html.moment(at.replace(microsecond=0)) == (
        '<time datetime="2026-11-22T23:02:03+00:00" title="2026-11-22 23:02:03.000 UTC">2026-11-22 23:02 UTC</time>'
    )
    assert html.moment(None) == "—"


def test_an_attribute_is_called_by_its_last_part() -> None:
    assert html.short("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager") == "manager"
    assert html.short("name.familyName") == "name.familyName"


def test_a_number_has_separators_of_thousands() -> None:
    assert html.number(1_234_567) == "1,234,567"
