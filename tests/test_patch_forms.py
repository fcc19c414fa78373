"""Every op and every form of path of RFC 7644 §3.5.2, each in a row: what is there, what is asked, what then is there.

A result is a dictionary of what changed (None: taken away), or the `scimType` of a refusal, by which nothing changes.
Where the modes differ, both results stand there: the tolerant one first, the strict one behind it.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from engine import extensions, patch
from engine.catalog import users_of
from engine.refusals import InvalidPath, Refusal
from engine.schema import CORE, ENTERPRISE
from engine.settings import Extension, Settings
from engine.streams import Recorded
from engine.strictness import StrictQuirks
from engine.user import PatchUser, Terms, User, decide, evolve_all
from tests.conftest import Directory
from tests.scim_words import DOCUMENT, URN, Json

AT = datetime(2026, 11, 23, 9, tzinfo=UTC)
SCHEMAS = (Extension(extensions.read(DOCUMENT)),)
WORK = {"type": "work", "value": "ann@x.example", "primary": True}
HOME = {"type": "home", "value": "ann@home.example"}
KEY = {"value": "k1", "serial": "s1", "door": 1}
CAR = {"plate": "B-1", "type": "work"}
MANAGER = f"{ENTERPRISE}:manager"
ANN: Json = {
    "userName": "ann",
    "title": "Baker",
    "name.givenName": "Ann",
    "name.familyName": "Lee",
    "emails": [WORK, HOME],
    f"{ENTERPRISE}:department": "Bread",
    f"{MANAGER}.value": "boss",
    f"{URN}:badge": 7,
    f"{URN}:code": "c1",
    f"{URN}:tags": ["x", "y"],
    f"{URN}:desk.floor": 3,
    f"{URN}:keys": [KEY],
    f"{URN}:cars": [CAR],
}
NOTHING: Json = {}
Row = tuple[str, Json | list[Json], Json | str] | tuple[str, Json | list[Json], Json | str, Json | str]


def add(path: str, value: Any) -> Json:
    return {"op": "add", "path": path, "value": value}


def replace(path: str, value: Any) -> Json:
    return {"op": "replace", "path": path, "value": value}


def remove(path: str) -> Json:
    return {"op": "remove", "path": path}


OTHER = {"type": "other", "value": "ann@other.example"}
ROWS: list[Row] = [
    # No path (§3.5.2.1, §3.5.2.3): the value is an object of attributes.
    ("adding without a path sets what is named", {"op": "add", "value": {"nickName": "A"}}, {"nickName": "A"}),
    ("replacing without a path sets what is named", {"op": "replace", "value": {"title": "Cook"}}, {"title": "Cook"}),
    (
        "adding without a path adds to lists",
        {"op": "add", "value": {"emails": [OTHER]}},
        {"emails": [WORK, HOME, OTHER]},
    ),
    ("replacing without a path replaces lists", {"op": "replace", "value": {"emails": [OTHER]}}, {"emails": [OTHER]}),
    (
        "adding without a path keeps the other parts of a complex value",
        {"op": "add", "value": {"name": {"givenName": "Anna"}}},
        {"name.givenName": "Anna"},
    ),
    (
        "an extension's object without a path sets its attributes",
        {"op": "add", "value": {ENTERPRISE: {"division": "D"}}},
        {f"{ENTERPRISE}:division": "D"},
    ),
    ("removing without a path has no target", {"op": "remove"}, "noTarget"),
    ("without a path a value is an object", {"op": "add", "value": "x"}, "invalidValue"),
    # An attribute.
    ("adding to an absent attribute sets it", add("nickName", "A"), {"nickName": "A"}),
    ("adding to a single value replaces it", add("title", "Cook"), {"title": "Cook"}),
    ("adding the value that is there changes nothing", add("title", "Baker"), NOTHING),
    ("replacing an absent attribute adds it", replace("nickName", "A"), {"nickName": "A"}),
    ("removing an attribute takes it away", remove("title"), {"title": None}),
    ("removing what is not there changes nothing", remove("nickName"), NOTHING),
    ("null takes a value away", replace("title", None), {"title": None}),
    ("names have no case", replace("TITLE", "Cook"), {"title": "Cook"}),
    ("the core URN may stand before a core name", replace(f"{CORE}:title", "Cook"), {"title": "Cook"}),
    # Complex attributes and sub-attributes.
    (
        "adding to a complex value keeps the parts that are not named",
        add("name", {"middleName": "M"}),
        {"name.middleName": "M"},
    ),
    (
        "replacing a complex value keeps the parts that are not named",
        replace("name", {"givenName": "Anna"}),
        {"name.givenName": "Anna"},
    ),
    ("removing a complex value takes all of it", remove("name"), {"name.givenName": None, "name.familyName": None}),
    ("a sub-attribute is added alone", add("name.middleName", "M"), {"name.middleName": "M"}),
    ("a sub-attribute is replaced alone", replace("name.givenName", "Anna"), {"name.givenName": "Anna"}),
    ("a sub-attribute is removed alone", remove("name.givenName"), {"name.givenName": None}),
    (
        "an unknown part of a complex value is passed over or refused",
        replace("name", {"givenName": "Anna", "shoe": "x"}),
        {"name.givenName": "Anna"},
        "invalidPath",
    ),
    # Multi-valued attributes.
    ("adding a list adds its elements", add("emails", [OTHER]), {"emails": [WORK, HOME, OTHER]}),
    ("one element may be added without a list", add("emails", OTHER), {"emails": [WORK, HOME, OTHER]}),
    ("adding an element twice adds it once", [add("emails", [OTHER])] * 2, {"emails": [WORK, HOME, OTHER]}),
    ("adding the element that is there changes nothing", add("emails", [HOME]), NOTHING),
    ("adding to an absent list makes it", add("photos", [{"value": "u"}]), {"photos": [{"value": "u"}]}),
    ("replacing a list replaces all of it", replace("emails", [OTHER]), {"emails": [OTHER]}),
    ("replacing a list by an empty one takes it away", replace("emails", []), {"emails": None}),
    ("removing a list takes all of it", remove("emails"), {"emails": None}),
    (
        "a part is set in all elements",
        replace("emails.display", "A"),
        {"emails": [{**WORK, "display": "A"}, {**HOME, "display": "A"}]},
    ),
    # Value paths.
    (
        "adding to a chosen element keeps its parts",
        add('emails[type eq "home"]', {"display": "A"}),
        {"emails": [WORK, {**HOME, "display": "A"}]},
    ),
    (
        "replacing a chosen element replaces all of it",
        replace('emails[type eq "home"]', OTHER),
        {"emails": [WORK, OTHER]},
    ),
    ("removing by a filter takes the chosen away", remove('emails[type eq "work"]'), {"emails": [HOME]}),
    ("removing all by a filter leaves no list", remove("emails[value pr]"), {"emails": None}),
    ("removing what no filter chooses", remove('emails[type eq "fax"]'), NOTHING, "noTarget"),
    (
        "a part of a chosen element is added",
        add('emails[type eq "home"].display', "A"),
        {"emails": [WORK, {**HOME, "display": "A"}]},
    ),
    (
        "a part of a chosen element is replaced",
        replace('emails[type eq "home"].value', "b@x"),
        {"emails": [WORK, {**HOME, "value": "b@x"}]},
    ),
    (
        "a part of a chosen element is removed",
        remove('emails[type eq "work"].primary'),
        {"emails": [{key: WORK[key] for key in ("type", "value")}, HOME]},
    ),
    (
        "replacing what does not match makes it or has no target",
        replace('emails[type eq "other"].value', "ann@other.example"),
        {"emails": [WORK, HOME, OTHER]},
        "noTarget",
    ),
    (
        "replacing a whole element that does not match makes it or has no target",
        replace('emails[type eq "other"]', {"value": "ann@other.example"}),
        {"emails": [WORK, HOME, OTHER]},
        "noTarget",
    ),
    ("what a filter does not describe is never made", replace('emails[type ne "work" and value sw "z"].value', "x"),
     "noTarget"),
    ("a value path may hold and, or and not", remove('emails[not (type eq "work") and (value ew "example")]'),
     {"emails": [WORK]}),
    # Primary.
    (
        "a new primary makes the old one false",
        replace('emails[type eq "home"].primary', True),
        {"emails": [{**WORK, "primary": False}, {**HOME, "primary": True}]},
    ),
    (
        "an added primary makes the old one false",
        add("emails", [{**OTHER, "primary": True}]),
        {"emails": [{**WORK, "primary": False}, HOME, {**OTHER, "primary": True}]},
    ),
    ("two cannot be primary", replace("emails", [WORK, {**HOME, "primary": True}]), "invalidValue"),
    ("all cannot be primary", replace("emails.primary", True), "invalidValue"),
    # Extensions.
    ("an attribute by URN", replace(f"{ENTERPRISE}:department", "Cake"), {f"{ENTERPRISE}:department": "Cake"}),
    (
        "an extension whole adds to what is there",
        add(ENTERPRISE, {"division": "D"}),
        {f"{ENTERPRISE}:division": "D"},
    ),
    (
        "an extension whole is removed",
        remove(ENTERPRISE),
        {f"{ENTERPRISE}:department": None, f"{MANAGER}.value": None},
    ),
    ("a part of an extension's complex attribute", replace(f"{MANAGER}.value", "b2"), {f"{MANAGER}.value": "b2"}),
    ("the core schema cannot be removed", remove(CORE), "noTarget"),
    ("a custom list of texts takes one more", add(f"{URN}:tags", ["z"]), {f"{URN}:tags": ["x", "y", "z"]}),
    ("a text of a custom list is removed by its value", remove(f'{URN}:tags[value eq "x"]'), {f"{URN}:tags": ["y"]}),
    ("a part of a custom complex value", replace(f"{URN}:desk.floor", 4), {f"{URN}:desk.floor": 4}),
    (
        "a part of a chosen element of a custom list",
        replace(f"{URN}:keys[door eq 1].weight", 0.5),
        {f"{URN}:keys": [{**KEY, "weight": 0.5}]},
    ),
    (
        "a time in a filter describes an element that is made",
        add(f'{URN}:keys[until eq "2026-01-01T01:00:00+01:00"].value', "k2"),
        {f"{URN}:keys": [KEY, {"until": "2026-01-01T00:00:00Z", "value": "k2"}]},
        "noTarget",
    ),
    # Mutability.
    ("what is required is not removed", remove("userName"), "mutability"),
    ("what is required is not set to null", replace("userName", None), "invalidValue"),
    ("a required custom attribute is not removed", remove(f"{URN}:badge"), "mutability"),
    ("a required part of an element is not removed", remove(f'{URN}:cars[type eq "work"].plate'), "mutability"),
    ("a required part of an element is not set to null", replace(f"{URN}:cars.plate", None), "invalidValue"),
    ("the id is read-only", replace("id", "x"), "mutability"),
    ("meta is read-only", replace("meta.created", "2026-01-01T00:00:00Z"), "mutability"),
    ("meta is not removed", remove("meta"), "mutability"),
    ("schemas are read-only", replace("schemas", [CORE]), "mutability"),
    ("groups are read-only", add("groups", [{"value": "g"}]), "mutability"),
    ("groups are not removed", remove('groups[value eq "g"]'), "mutability"),
    ("a read-only custom attribute is not set", add(f"{URN}:number", 1), "mutability"),
    ("what is set once is not changed", replace(f"{URN}:code", "c2"), "mutability"),
    ("what is set once may be said again", replace(f"{URN}:code", "c1"), NOTHING),
    ("what is set once is not removed", remove(f"{URN}:code"), "mutability"),
    ("a part that is set once is not changed", replace(f"{URN}:keys[door eq 1].serial", "s2"), "mutability"),
    ("a part that is set once is not added over", add(f"{URN}:keys[door eq 1]", {"serial": "s2"}), "mutability"),
    ("a part that is set once is not removed", remove(f"{URN}:keys[door eq 1].serial"), "mutability"),
    ("an element with a part that is set once is removed", remove(f"{URN}:keys[door eq 1]"), {f"{URN}:keys": None}),
    # Values and forms.
    ("a text is no number", replace("title", 5), "invalidValue"),
    ("a number is no text", replace(f"{URN}:badge", "seven"), "invalidValue"),
    ("a complex value is no number", replace("name", 5), "invalidValue"),
    ("an element is no number", add("emails", [5]), "invalidValue"),
    ("a boolean is no number", replace("active", 1), "invalidValue"),
    ("adding takes a value", {"op": "add", "path": "title"}, "invalidValue"),
    ("replacing takes a value", {"op": "replace", "path": "title"}, "invalidValue"),
    ("a path that does not end", replace('emails[type eq "work"', "x"), "invalidPath"),
    ("a path with a wrong operator", replace('emails[type is "work"]', {}), "invalidPath"),
    ("a path with something behind it", replace("title title", "x"), "invalidPath"),
    ("a path that is no text", {"op": "replace", "path": 5, "value": "x"}, "invalidPath"),
    ("a path within a single value", replace('title[value eq "x"]', "x"), "invalidPath"),
    ("an attribute that is unknown", replace("shoe", 43), NOTHING, "invalidPath"),
    ("an op that is misspelt", {"op": "set", "path": "title", "value": "x"}, "invalidSyntax"),
    ("an op that is missing", {"path": "title", "value": "x"}, "invalidSyntax"),
    ("an operation that is no object", ["replace"], "invalidSyntax"),  # type: ignore[list-item]
    ("no operation", [], NOTHING, "invalidSyntax"),
    # All or nothing, in the order that is given (§3.5.2).
    ("a later operation sees an earlier one", [add("emails", [OTHER]), remove('emails[type eq "other"]')], NOTHING),
    ("one refused operation refuses all", [replace("title", "Cook"), replace("id", "x")], "mutability"),
    ("one without a target refuses all", [replace("title", "Cook"), replace('emails[value sw "z"].value', "x")],
     "noTarget"),
]  # fmt: skip


def outcome(operations: Json | list[Json], mode: Any) -> Json | str | None:
    """What changes, or the `scimType` of the refusal."""
    settings = Settings(mode=mode, schemas=SCHEMAS)
    ann = User(
        id=uuid4(), version=1, attributes=dict(ANN), active=True, role="member", origins={}, created_at=AT
    )  # fmt: skip
    quirks: list[str] = []
    if mode == "strict":
        quirks = StrictQuirks()
        quirks.unknown_in = InvalidPath
    body = {"Operations": operations if isinstance(operations, list) else [operations]}
    try:
        events = decide(PatchUser(patch.read(body, users_of(settings), quirks)), ann, Terms(settings))
    except Refusal as refusal:
        return refusal.scim_type
    after = (
        evolve_all(ann, [Recorded(ann.id, 2, "directory", each, AT) for each in events]).attributes if events else ANN
    )
    return {key: after.get(key) for key in {**ANN, **after} if after.get(key) != ANN.get(key)}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
@pytest.mark.parametrize("mode", ["entra", "strict"])
def test_each_form_does_what_the_rfc_says(row: Row, mode: str) -> None:
    assert outcome(row[1], mode) == row[-1 if mode == "strict" else 2]


@pytest.mark.parametrize(
    ("operation", "scim_type"),
    [
        (replace('emails[type eq "other"].value', 5), "invalidValue"),
        (replace("id", "x"), "mutability"),
        (replace("emails[", "x"), "invalidPath"),
        (replace('emails[value sw "z"].value', "x"), "noTarget"),
        ({"op": "set", "path": "title"}, "invalidSyntax"),
        (replace("userName", "bob"), "uniqueness"),
    ],
)
async def test_a_refused_operation_leaves_nothing_changed(
    directory: Directory, operation: Json, scim_type: str
) -> None:
    await directory.create("bob")
    ann = await directory.create("ann", title="Baker", emails=[WORK])
    before = (await directory.request("GET", f"/scim/v2/Users/{ann}")).json()
    body = {"Operations": [replace("title", "Cook"), operation, add("emails", [HOME])]}

    answer = await directory.request("PATCH", f"/scim/v2/Users/{ann}", json=body)

    assert answer.status_code == (409 if scim_type == "uniqueness" else 400)
    assert answer.json()["scimType"] == scim_type
    assert (await directory.request("GET", f"/scim/v2/Users/{ann}")).json() == before
    assert await directory.event_types(ann) == ["UserProvisioned"]
