"""A user as the SCIM resource that the directory reads: what it wrote, where it wrote it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from engine import resource, rules
from engine.catalog import USERS, Catalog, groups_of, users_of
from engine.group import Group
from engine.membership import Member
from engine.refusals import InvalidValue
from engine.schema import CORE, GROUP_URN, ROLLBOOK, Attribute, Target
from engine.settings import Settings
from engine.user import User

LIST_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:ListResponse"


def etag(user: User | Group) -> str:
    return f'W/"{user.version}"'


def location(user: User | Group, base: str) -> str:
    return f"{base}/{'Users' if isinstance(user, User) else 'Groups'}/{user.id}"


def render(user: User, base: str, settings: Settings) -> dict[str, Any]:
    """The resource, whole (RFC 7643 §3 and §4).

    Entra looks for a value where its mapping names it, and sends it again for ever if it is not there: so what the
    directory named with a URN stands at the top level and under that URN too.
    """
    sent = user.attributes.get("role", user.own)
    top = users_of(settings).shown(user.attributes)
    top.pop("role", None)
    tree = resource.nested(top)
    named = {"active": user.active, "role": sent}
    if "microsoftId" in top:
        named["microsoftId"] = top["microsoftId"]
    return {
        "schemas": [
            CORE,
            *(name for name in tree if name.startswith("urn:")),
            *([ROLLBOOK] if ROLLBOOK in user.prefixes else []),
        ],
        "id": str(user.id),
        **tree,
        "active": user.active,
        "role": sent if rules.means(sent, user.own, settings) else user.own,
        **dict.fromkeys(user.prefixes, named),
        "meta": _meta(user, base),
    }


def render_group(group: Group, base: str, settings: Settings) -> dict[str, Any]:
    """The resource without its members, of which there may be many."""
    tree = resource.nested(groups_of(settings).shown(group.attributes))
    return {
        "schemas": [GROUP_URN, *(name for name in tree if name.startswith("urn:"))],
        "id": str(group.id),
        **tree,
        "meta": _meta(group, base),
    }


def member(found: Member, base: str) -> dict[str, Any]:
    """An element of `members`. Who has not arrived yet has neither an address nor a type."""
    if found.kind is None:
        return {"value": found.shown_value}
    return {"value": str(found.id), "$ref": f"{base}/{found.kind}s/{found.id}", "type": found.kind}


def groups(found: Iterable[tuple[UUID, str, bool]], base: str) -> dict[str, Any]:
    """The attribute `groups` of a user, if there are any."""
    elements = [
        {
            "value": str(group_id),
            "$ref": f"{base}/Groups/{group_id}",
            "display": display,
            "type": "direct" if is_direct else "indirect",
        }
        for group_id, display, is_direct in found
    ]
    return {"groups": elements} if elements else {}


def _meta(found: User | Group, base: str) -> dict[str, Any]:
    return {
        "resourceType": "User" if isinstance(found, User) else "Group",
        "created": moment(found.created_at),
        "lastModified": moment(found.modified_at),
        "location": location(found, base),
        "version": etag(found),
    }


def moment(at: datetime | None) -> str:
    """RFC 3339 in UTC with milliseconds, as Entra's examples have it."""
    if at is None:
        raise LookupError("an appended event has a time")
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Choice:
    """Which attributes an answer has: `attributes` or `excludedAttributes` of the query (RFC 7644 §3.9)."""

    def __init__(self, wanted: str | None, unwanted: str | None, catalog: Catalog = USERS) -> None:
        if wanted and unwanted:
            raise InvalidValue("attributes and excludedAttributes exclude each other; give one of them.")
        self._wanted = _targets(wanted, catalog)
        self._always = _found(catalog.always_shown, catalog)
        self._on_request = _found(catalog.on_request, catalog)
        self._unwanted = _targets(unwanted, catalog)

    @property
    def is_any(self) -> bool:
        """Whether the query says which attributes it wants."""
        return self._wanted is not None or self._unwanted is not None

    def wants(self, name: str) -> bool:
        """Whether an attribute that costs something is to be answered at all."""
        if self._wanted is not None:
            return any(target.key == name for target in self._wanted)
        return not any(target.key == name and target.sub is None for target in self._unwanted or ())

    def of(self, found: dict[str, Any]) -> dict[str, Any]:
        if self._wanted is not None:
            return _picked(found, [*self._wanted, *self._always])
        if self._unwanted is not None:
            return _left(found, [*self._unwanted, *self._on_request])
        return _left(found, self._on_request) if self._on_request else found


def _found(keys: Iterable[str], catalog: Catalog) -> list[Target]:
    return [target for key in sorted(keys) if (target := catalog.find(key))]


def _targets(names: str | None, catalog: Catalog) -> list[Target] | None:
    """Names that are unknown name nothing; the URN of a schema names all of its attributes."""
    if not names:
        return None
    return [target for name in names.split(",") for target in _meant(name.strip(), catalog)]


def _meant(name: str, catalog: Catalog) -> list[Target]:
    if target := catalog.find(name):
        return [target]
    if (urn := catalog.schema_urn(name)) is None:
        return []
    # What is answered on request alone is asked for by its own name.
    return [each for each in catalog.targets_of(urn) if each.key not in catalog.on_request]


def _picked(found: dict[str, Any], targets: Iterable[Target]) -> dict[str, Any]:
    picked: dict[str, Any] = {name: found[name] for name in ("schemas", "id")}
    for target in targets:
        branch, into, name = _branch(found, target, picked)
        if name not in branch:
            continue
        into[name] = branch[name] if target.sub is None else _sub(branch[name], into.get(name), target.sub.name)
        if target.prefix in found:
            picked[target.prefix] = found[target.prefix]
    return {name: value for name, value in picked.items() if value not in ({}, [], None)}


def _branch(found: dict[str, Any], target: Target, into: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], str]:
    if target.key.startswith("urn:"):
        urn = target.key.rpartition(":")[0]
        return found.get(urn, {}), into.setdefault(urn, {}), target.attribute.name
    return found, into, target.key


def _sub(value: Any, picked: Any, name: str) -> Any:
    if isinstance(value, list):
        before: Sequence[dict[str, Any]] = picked or [{} for _ in value]
        return [
            {**chosen, **{key: each[key] for key in each if key == name}}
            for chosen, each in zip(before, value, strict=True)
        ]
    return {**(picked or {}), **{key: value[key] for key in value if key == name}}


def _left(found: dict[str, Any], targets: Iterable[Target]) -> dict[str, Any]:
    left = {name: dict(value) if isinstance(value, dict) else value for name, value in found.items()}
    for target in targets:
        if (target.sub or target.attribute).returned == "always":  # RFC 7643 §2.2
            continue
        if target.key.startswith("urn:"):
            branches = [left.get(target.key.rpartition(":")[0], {})]
        else:  # what the directory named with a URN stands under that URN too
            branches = [left, left.get(CORE, {}), left.get(ROLLBOOK, {})]
        for branch in branches:
            if kept := _without(branch.pop(target.attribute.name, None), target.sub):
                branch[target.attribute.name] = kept
    return {name: value for name, value in left.items() if value != {}}


def _without(value: Any, sub: Attribute | None) -> Any:
    if sub is None:
        return None
    if isinstance(value, list):
        return [kept for each in value if (kept := _without(each, sub))]
    return {name: each for name, each in (value or {}).items() if name != sub.name}


def list_response(resources: list[dict[str, Any]], total: int, start: int = 1) -> dict[str, Any]:
    """A page of a list (RFC 7644 §3.4.2)."""
    return {
        "schemas": [LIST_RESPONSE],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": len(resources),
        "Resources": resources,
    }
