"""PATCH at random: what the service makes of operations is what the words of the RFC make of them."""

import os
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given as for_all
from hypothesis import settings as how
from hypothesis import strategies as st

from engine import extensions, patch
from engine.catalog import users_of
from engine.refusals import Refusal
from engine.settings import Extension, Settings
from engine.streams import Recorded
from engine.strictness import StrictQuirks
from engine.user import PatchUser, Terms, User, decide, evolve_all
from tests.patch_words import Refused, Told, evaluate
from tests.scim_words import (
    ATTRIBUTES,
    DOCUMENT,
    WRONG,
    Json,
    documents,
    filters_within,
    leaves,
    subs_of,
    text_of,
    trees,
    values,
)

EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
AT = datetime(2026, 11, 23, 9, tzinfo=UTC)
SCHEMAS = (Extension(extensions.read(DOCUMENT)),)


def settings_of(mode: Any) -> Settings:
    return Settings(mode=mode, email_case="keep", name_characters="any", schemas=SCHEMAS)


@st.composite
def operations(draw: st.DrawFn, document: Json) -> Told:
    often = [name for name in document if ATTRIBUTES[name]["multiValued"]] or sorted(ATTRIBUTES)
    name = draw(st.sampled_from(often) | st.sampled_from(sorted(ATTRIBUTES)))
    attribute = ATTRIBUTES[name]
    op = draw(st.sampled_from(["add", "replace", "remove"]))
    chosen = sub = None
    if attribute["multiValued"] and draw(st.integers(0, 2)):
        chosen = draw(trees(filters_within(subs_of(attribute)), 3))
    if attribute["subs"] and draw(st.booleans()):
        sub = draw(st.sampled_from(sorted(attribute["subs"])))
    if op == "remove":
        return Told(op, name, chosen, sub)
    meant = attribute["subs"][sub] if sub else {**attribute, "multiValued": attribute["multiValued"] and not chosen}
    kind = draw(st.sampled_from([*["right"] * 8, "null", "wrong"]))
    if kind == "null":
        return Told(op, name, chosen, sub)
    if kind == "wrong":
        wrong = WRONG[meant["type"]]
        return Told(op, name, chosen, sub, [wrong] if meant["multiValued"] else wrong, is_right=False)
    return Told(op, name, chosen, sub, draw(values(meant)))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Json, list[Told]]:
    document = draw(documents())
    return document, draw(st.lists(operations(document), min_size=1, max_size=4))


def path_of(told: Told) -> str:
    chosen = f"[{text_of(told.chosen)}]" if told.chosen else ""
    return told.name + chosen + (f".{told.sub}" if told.sub else "")


def as_sent(told: Told) -> Json:
    value = {} if told.op == "remove" else {"value": told.value}
    return {"op": told.op, "path": path_of(told), **value}


def by_the_service(document: Json, told: list[Told], settings: Settings) -> Json | str | None:
    """The leaves after the operations, or the `scimType` of the refusal."""
    user = User(
        id=uuid4(), version=1, attributes=leaves(document), active=True, role="member", origins={}, created_at=AT
    )
    try:
        quirks: list[str] = StrictQuirks() if settings.mode == "strict" else []
        command = PatchUser(patch.read({"Operations": [as_sent(each) for each in told]}, users_of(settings), quirks))
        events = decide(command, user, Terms(settings))
    except Refusal as refusal:
        return refusal.scim_type
    if not events:
        return user.attributes
    return evolve_all(user, [Recorded(user.id, 2, "directory", each, AT) for each in events]).attributes


def by_the_words(document: Json, told: list[Told], *, strict: bool) -> Json | str:
    try:
        return leaves(evaluate(document, told, strict=strict))
    except Refused as refusal:
        return str(refusal)


@pytest.mark.parametrize("mode", ["entra", "strict"])
def test_patch_makes_of_a_document_what_the_words_of_the_rfc_make_of_it(mode: str) -> None:
    @how(max_examples=EXAMPLES or 400, deadline=None, database=None, derandomize=not EXAMPLES)
    @for_all(cases())
    def same(case: tuple[Json, list[Told]]) -> None:
        document, told = case
        found = by_the_service(document, told, settings_of(mode))
        assert found == by_the_words(document, told, strict=mode == "strict"), [as_sent(each) for each in told]

    same()
