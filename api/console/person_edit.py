"""The form in which a person is edited locally, attribute by attribute."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct
from starlette.responses import Response

from api.console import html
from api.console.somebody import carry_out, id_of, name_of, person_of
from api.console.visit import Visit, done, for_role
from engine import patch
from engine.catalog import users_of
from engine.refusals import BadRequest, InvalidValue, PreconditionFailed, Refusal
from engine.schema import ENTERPRISE, Leaf
from engine.user import User
from engine.values import Quirks

OVERTAKEN = (
    "Nothing was saved: somebody else changed this person since you opened the form. What you typed still stands here; "
    "look at what is there now, and save again if it is still meant."
)
# What the form offers beside everything that the person has.
_USUAL = (
    "displayName",
    "name.givenName",
    "name.familyName",
    "title",
    f"{ENTERPRISE}:department",
)
_FIELD = "value:"  # ahead of an attribute's name, in the form


@for_role("admin")
async def show(visit: Visit) -> Response:
    return await _form(visit, await person_of(visit, id_of(visit)))


@for_role("admin")
async def edit(visit: Visit) -> Response:
    """A local edit of what is different in the form."""
    form = await visit.form()
    user = await person_of(visit, id_of(visit))
    try:
        quirks: Quirks = []
        operations = patch.read({"Operations": list(_operations(form, user))}, users_of(visit.session.settings), quirks)
        if unknown := [quirk for quirk in quirks if "unknown" in quirk]:
            raise InvalidValue(f"Nothing was edited. {unknown[0]}.")
        changed = await carry_out(visit, user.id, operations, form.get("version", ""))
    except PreconditionFailed:
        return await _form(visit, user, form, PreconditionFailed(OVERTAKEN))
    except Refusal as refusal:
        if refusal.status not in {400, 403, 409}:
            raise
        return await _form(visit, user, form, refusal)
    return done(f"/console/people/{user.id}", "edited" if changed.version > user.version else "unchanged")


class Field(Struct, frozen=True):
    """A field of the form: an attribute, what it holds as text, and whether that is JSON."""

    name: str
    text: str
    is_json: bool
    description: str


async def _form(
    visit: Visit, user: User, form: dict[str, str] | None = None, refusal: Refusal | None = None
) -> Response:
    given = form or {}
    fields = [
        msgspec.structs.replace(each, text=given.get(_FIELD + each.name, each.text)) for each in _fields(visit, user)
    ]
    visit.note("console:person", 1, {"id": str(user.id)})
    return visit.page(
        "person-edit.html",
        refusal.status if refusal else 200,
        user=user,
        name=name_of(user),
        fields=fields,
        roles=visit.session.settings.roles,
        role=given.get(_FIELD + "role", user.role),
        version=user.version,
        wrong=refusal.detail if refusal else "",
    )


def _fields(visit: Visit, user: User) -> Iterator[Field]:
    """Everything that may be edited and either is usual or has a value."""
    catalog = users_of(visit.session.settings)
    for name in dict.fromkeys((*_USUAL, *sorted(catalog.shown(user.attributes)))):
        leaf = catalog.leaves.get(name)
        if leaf is None or leaf.attribute.mutability != "readWrite" or name in {"role", "active"}:
            continue
        value = user.attributes.get(name)
        yield Field(name, html.plain(value), _is_json(leaf), leaf.attribute.description)


def _is_json(leaf: Leaf) -> bool:
    return leaf.attribute.multi_valued or leaf.attribute.type not in {"string", "reference", "dateTime", "binary"}


def _operations(form: dict[str, str], user: User) -> Iterator[dict[str, Any]]:
    """What is different in the form, as SCIM says it. Raises BadRequest for what is no JSON where it has to be."""
    for field, text in form.items():
        name = field.removeprefix(_FIELD)
        if name == field:
            continue
        before = user.role if name == "role" else html.plain(user.attributes.get(name))
        if text.strip().replace("\r\n", "\n") == before:
            continue
        yield (
            {"op": "replace", "path": name, "value": _value(name, text, user)}
            if text.strip()
            else {
                "op": "remove",
                "path": name,
            }
        )


def _value(name: str, text: str, user: User) -> Any:
    if isinstance(user.attributes.get(name, ""), str):
        return text.strip()
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(f"{name} is written as JSON, as it stood there before; this is not JSON.") from None
