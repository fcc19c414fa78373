"""Events as they are written: every example that was ever stored is read for ever, and written as it was."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import settings as how
from hypothesis import strategies as st

from engine.events import (
    TYPES,
    AnyEvent,
    AttributesChanged,
    AuditAccessed,
    Change,
    Deactivated,
    EvidenceExported,
    GroupChanged,
    GroupDeleted,
    GroupProvisioned,
    MemberAwaited,
    MemberJoined,
    MembersAdded,
    MembersRemoved,
    Reactivated,
    RequestRefused,
    RoleAssigned,
    SettingsChanged,
    TenantRegistered,
    TokenIssued,
    TokenRevoked,
    UserDeleted,
    UserProvisioned,
    decode,
    encode,
    type_of,
)
from engine.settings import Role, Settings

# `<type>.<form>.json` holds `data` of the log, byte for byte. Never change one; add one with each new field or type.
EXAMPLES = sorted((Path(__file__).parent / "events").glob("*.json"))
KNOWN = [path for path in EXAMPLES if ".later." not in path.name]
LATER = [path for path in EXAMPLES if ".later." in path.name]  # as a later version may write it


def stored(path: Path) -> str:
    return path.read_text(encoding="utf-8").removesuffix("\n")


def name_of(path: Path) -> str:
    return path.name.removesuffix(".json")


def test_every_type_has_an_example() -> None:
    assert {path.name.partition(".")[0] for path in KNOWN} == set(TYPES)


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_a_stored_event_is_of_the_type_that_its_data_and_its_row_name(path: Path) -> None:
    name = path.name.partition(".")[0]

    assert type_of(decode(stored(path))) == name
    assert json.loads(stored(path))["type"] == name


@pytest.mark.parametrize("path", KNOWN, ids=name_of)
def test_a_stored_event_is_written_as_it_was(path: Path) -> None:
    written, was = json.loads(encode(decode(stored(path)))), json.loads(stored(path))
    if "settings" in was:  # all are written, those included that came later
        written["settings"] = {name: written["settings"][name] for name in was["settings"]}
    assert json.dumps(written) == json.dumps(was)
    assert decode(stored(path).encode()) == decode(stored(path))


@pytest.mark.parametrize("path", LATER, ids=name_of)
def test_fields_that_this_version_does_not_know_are_passed_over(path: Path) -> None:
    full = path.with_name(path.name.replace(".later.", ".full."))

    assert decode(stored(path)) == decode(stored(full))


@pytest.mark.parametrize("name", TYPES)
def test_every_field_of_a_type_is_in_one_of_its_examples(name: str) -> None:
    examples = [path for path in KNOWN if path.name.startswith(f"{name}.")]

    written = {field for path in examples for field in json.loads(stored(path))}
    assert written == {"type", *type(decode(stored(examples[0]))).__struct_encode_fields__}


@pytest.mark.parametrize(
    "data",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"type":"UserForgotten"}',
        '{"type":null}',
        '{"type":"UserDeleted"}',
        '{"type":"UserDeleted","active":"yes","role":"member"}',
        '{"type":"AttributesChanged","changes":{"title":{"from":"a"}}}',
        '{"type":"TokenRevoked","token_id":"5","name":"Entra"}',
    ],
)
def test_what_is_no_event_of_a_known_type_is_refused(data: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(data)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ELEMENTS = st.lists(st.dictionaries(TEXT, TEXT | st.booleans(), max_size=3), max_size=3)
VALUES = st.dictionaries(TEXT, TEXT | ELEMENTS, max_size=4)
CHANGES = st.dictionaries(TEXT, st.builds(Change, st.none() | TEXT | ELEMENTS, st.none() | TEXT | ELEMENTS), max_size=4)
VERSIONS = st.dictionaries(TEXT, st.integers(1, 2**31), max_size=2)
URNS = st.lists(TEXT, max_size=2).map(tuple)
IDS = st.lists(st.uuids(), max_size=3).map(tuple)
TIMES = st.datetimes(timezones=st.just(UTC))
SETTINGS = st.builds(
    Settings,
    seat_limit=st.none() | st.integers(0, 10**9),
    roles=st.sampled_from([(Role("a", "A"),), (Role("a", "A"), Role("b", "Bé"))]),
)
EVENTS: st.SearchStrategy[AnyEvent] = st.one_of(
    st.builds(UserProvisioned, attributes=VALUES, active=st.booleans(), role=TEXT, prefixes=URNS),
    st.builds(AttributesChanged, changes=CHANGES, overwrote=VERSIONS, confirmed=VERSIONS, prefixes=URNS),
    st.builds(RoleAssigned, from_=TEXT, to=TEXT, sent=st.none() | TEXT, active=st.booleans(), overwrote=VERSIONS),
    st.builds(Deactivated, role=TEXT, overwrote=VERSIONS),
    st.builds(Reactivated, role=TEXT, overwrote=VERSIONS),
    st.builds(UserDeleted, active=st.booleans(), role=TEXT),
    st.builds(GroupProvisioned, attributes=VALUES),
    st.builds(GroupChanged, changes=CHANGES),
    st.builds(MembersAdded, users=IDS, groups=IDS),
    st.builds(MembersRemoved, users=IDS, groups=IDS, awaited=IDS),
    st.builds(MemberAwaited, member_id=st.uuids(), value=TEXT),
    st.builds(MemberJoined, awaited=st.uuids(), id=st.uuids(), kind=st.sampled_from(["User", "Group"])),
    st.just(GroupDeleted()),
    st.builds(TenantRegistered, name=TEXT, settings=SETTINGS),
    st.builds(SettingsChanged, changes=CHANGES),
    st.builds(TokenIssued, token_id=st.uuids(), name=TEXT, scopes=URNS, digest=TEXT, expires_at=TIMES),
    st.builds(TokenRevoked, token_id=st.uuids(), name=TEXT),
    st.builds(
        RequestRefused,
        method=TEXT,
        path=TEXT,
        status=st.integers(400, 599),
        detail=TEXT,
        scim_type=st.none() | TEXT,
        user_id=st.none() | st.uuids(),
        subject=st.dictionaries(TEXT, TEXT, max_size=2),
    ),
    st.builds(
        AuditAccessed, question=TEXT, parameters=st.dictionaries(TEXT, TEXT, max_size=2), rows=st.integers(0, 2**31)
    ),
    st.builds(
        EvidenceExported, question=TEXT, rows=st.integers(0, 2**31), format=TEXT, sha256=TEXT, is_whole=st.booleans()
    ),
)


@how(deadline=None)
@for_all(EVENTS)
def test_what_is_written_is_read(event: AnyEvent) -> None:
    assert decode(encode(event)) == event


def test_a_time_is_written_with_its_zone() -> None:
    written: dict[str, Any] = json.loads((EXAMPLES[0].parent / "TokenIssued.full.json").read_text(encoding="utf-8"))

    assert datetime.fromisoformat(written["expires_at"]) == datetime(2027, 11, 23, 9, 0, 0, 123_456, tzinfo=UTC)
