"""A tenant's own schemas: read from their JSON (RFC 7643 §7), and what they demand of resources that use them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import structs

from engine.catalog import GROUPS, USERS, Catalog
from engine.refusals import InvalidValue, NotFound, NotMutable
from engine.schema import Attribute, Schema
from engine.settings import Extension, Settings

MOST_SCHEMAS = 20
MOST_ATTRIBUTES = 100  # of one schema, and of one complex attribute
LONGEST_URN = 200  # characters
LONGEST_TEXT = 1_000  # characters of a description, or of a canonical value
MOST_CANONICAL = 200

# Names and URNs stand in SQL: nothing in them may end a quoted text.
_URN = re.compile(r"urn:[A-Za-z0-9][A-Za-z0-9-]*(:[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
_NAME = re.compile(r"\$ref|[A-Za-z][A-Za-z0-9_-]{0,99}")
_FIELDS = {
    "name": "name",
    "type": "type",
    "multiValued": "multi_valued",
    "description": "description",
    "required": "required",
    "caseExact": "case_exact",
    "mutability": "mutability",
    "returned": "returned",
    "uniqueness": "uniqueness",
    "canonicalValues": "canonical_values",
    "referenceTypes": "reference_types",
    "subAttributes": "sub_attributes",
}


def read(document: object) -> Schema:
    """The schema that a JSON document defines. Raises InvalidValue, naming the place."""
    members = _object(document, "the document")
    urn, name = _text(members, "id", "the document"), members.get("name", "")
    if not _URN.fullmatch(urn) or len(urn) > LONGEST_URN:
        raise InvalidValue(f"id takes a URN of up to {LONGEST_URN} characters like urn:example:contoso:2.0:User.")
    if not isinstance(name, str) or len(name) > LONGEST_TEXT:
        raise InvalidValue(f"name takes a text of up to {LONGEST_TEXT} characters.")
    attributes = _attributes(members.get("attributes"), "attributes", within=None)
    return Schema(urn, name or urn.rpartition(":")[2], _description(members, "the document"), attributes)


def _attributes(found: object, where: str, within: Attribute | None) -> tuple[Attribute, ...]:
    if not isinstance(found, list) or not 1 <= len(found) <= MOST_ATTRIBUTES:
        raise InvalidValue(f"{where} takes a list of 1 to {MOST_ATTRIBUTES} attributes.")
    attributes = tuple(_attribute(each, f"{where}[{place}]", within) for place, each in enumerate(found))
    names = [each.name.lower() for each in attributes]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidValue(f"{where} has two attributes named {twice}; names differ by more than case.")
    return attributes


def _attribute(found: object, where: str, within: Attribute | None) -> Attribute:
    members = _object(found, where)
    given = {_FIELDS[name]: value for name, value in members.items() if name in _FIELDS and value is not None}
    given["description"] = _description(members, where)
    subs = given.pop("sub_attributes", None) or None
    try:
        attribute = msgspec.convert(given, Attribute)
    except msgspec.ValidationError as error:
        raise InvalidValue(f"{where} is no attribute of RFC 7643 §7: {error}.") from None
    _check(attribute, where, within, has_subs=subs is not None)
    if subs is not None:
        attribute = structs.replace(attribute, sub_attributes=_attributes(subs, f"{where}.subAttributes", attribute))
    is_exact = attribute.case_exact or attribute.type in {"binary", "reference"}  # RFC 7643 §2.3.6 and §2.3.7
    return structs.replace(attribute, is_closed=bool(attribute.canonical_values), case_exact=is_exact)


def _check(attribute: Attribute, where: str, within: Attribute | None, *, has_subs: bool) -> None:
    if not _NAME.fullmatch(attribute.name) or (attribute.name == "$ref" and within is None):
        raise InvalidValue(f"{where}.name takes a letter, and behind it up to 99 letters, digits, '-' and '_'.")
    if (attribute.type == "complex") != has_subs:
        raise InvalidValue(f"{where} needs subAttributes if it is complex, and has none otherwise.")
    if within and (attribute.type == "complex" or attribute.multi_valued):
        raise InvalidValue(f"{where} is within a complex attribute, and so is neither complex nor multi-valued here.")
    if within and attribute.returned not in {"default", "always"}:
        raise InvalidValue(f"{where}.returned takes default or always; the whole attribute may have another.")
    if within and attribute.mutability in {"readOnly", "writeOnly"} and within.mutability != attribute.mutability:
        raise InvalidValue(f"{where}.mutability takes readWrite or immutable; the whole attribute may have another.")
    if attribute.mutability == "writeOnly" and attribute.returned != "never":
        raise InvalidValue(f"{where} is writeOnly, so returned must be never.")
    if attribute.mutability == "readOnly" and attribute.required:
        raise InvalidValue(f"{where} is readOnly, so nobody could give what is required.")
    if attribute.uniqueness != "none":
        raise InvalidValue(f"{where}.uniqueness takes none: uniqueness is not kept for a schema of your own.")
    texts = (*attribute.canonical_values, *attribute.reference_types)
    if len(texts) > MOST_CANONICAL or any(len(each) > LONGEST_TEXT for each in texts):
        raise InvalidValue(f"{where} lists more than {MOST_CANONICAL} values, or longer ones than {LONGEST_TEXT}.")
    if attribute.canonical_values and attribute.type not in {"string", "reference"}:
        raise InvalidValue(f"{where}.canonicalValues is for strings and references.")


def _object(found: object, where: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise InvalidValue(f"{where} must be a JSON object, in the form of RFC 7643 §7.")
    return found


def _text(members: Mapping[str, Any], name: str, where: str) -> str:
    if not isinstance(members.get(name), str):
        raise InvalidValue(f"{where} has no {name}, which takes a string.")
    return str(members[name])


def _description(members: Mapping[str, Any], where: str) -> str:
    found = members.get("description") or ""
    if not isinstance(found, str) or len(found) > LONGEST_TEXT or "\0" in found:
        raise InvalidValue(f"{where}.description takes a text of up to {LONGEST_TEXT} characters.")
    return found


def added(settings: Settings, new: Extension) -> dict[str, Any]:
    """The settings that add the schema. Raises InvalidValue if it clashes with what is there."""
    urn = new.schema.id
    if len(settings.schemas) >= MOST_SCHEMAS:
        raise InvalidValue(
            f"A tenant has at most {MOST_SCHEMAS} schemas of its own. Remove one: rollbook schema remove"
        )
    ours = [each.id for catalog in (USERS, GROUPS) for each in catalog.schemas]
    for other in (*ours, *(each.schema.id for each in settings.schemas)):
        if _overlap(urn.lower(), other.lower()):
            raise InvalidValue(f"The URN {urn} is taken, or cannot be told from {other}; choose another one.")
    for former in settings.former_schemas:
        if former.schema.id.lower() == urn.lower():
            _check_types(former, new)
        elif _overlap(urn.lower(), former.schema.id.lower()):
            raise InvalidValue(f"The URN {urn} cannot be told from {former.schema.id}, which was removed here.")
    kept = [each for each in settings.former_schemas if each.schema.id.lower() != urn.lower()]
    return {"schemas": _plain([*settings.schemas, new]), "former_schemas": _plain(kept)}


def removed(settings: Settings, urn: str) -> dict[str, Any]:
    """The settings that take the schema away. Raises NotFound if it is not there."""
    found = next((each for each in settings.schemas if each.schema.id.lower() == urn.lower()), None)
    if found is None:
        raise NotFound(f"The tenant has no schema {urn[:LONGEST_URN]}. Those that it has: rollbook schema list")
    kept = [each for each in settings.schemas if each != found]
    return {"schemas": _plain(kept), "former_schemas": _plain([*settings.former_schemas, found])}


def _plain(found: list[Extension]) -> Any:
    return msgspec.to_builtins(found)


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith((f"{other}:", f"{other}.")) or other.startswith((f"{one}:", f"{one}."))


def _check_types(former: Extension, new: Extension) -> None:
    """Values of the former schema are stored still, and are read with the types of the new one."""
    if former.resource != new.resource or former.schema.id != new.schema.id:
        raise InvalidValue(f"{former.schema.id} was here before, in this spelling and for a {former.resource}.")
    before = dict(_types(former.schema.attributes))
    after = dict(_types(new.schema.attributes))
    if other := next((name for name in before if before[name] != after.get(name)), None):
        raise InvalidValue(
            f"{new.schema.id} was here before, and values are stored that {other} has to fit: keep its spelling, its "
            f"type, and multiValued."
        )


def _types(attributes: tuple[Attribute, ...], within: str = "") -> Iterator[tuple[str, tuple[str, bool]]]:
    for each in attributes:
        yield within + each.name, (each.type, each.multi_valued)
        yield from _types(each.sub_attributes, f"{within}{each.name}.")


def check(catalog: Catalog, before: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    """What a tenant's own schemas ask of a resource that changes; None takes a value away.

    Raises NotMutable if what is set once would be set again, InvalidValue if a schema that is used lacks what it
    requires (RFC 7643 §6: a schema that is not used demands nothing).
    """
    if not catalog.own:
        return
    for key, value in changed.items():
        if key in catalog.immutable and before.get(key) not in (None, value):
            raise NotMutable(f"{key} is immutable: it was set once, and stays (RFC 7643 §2.2).")
    if not any(key.startswith("urn:") for key in changed):
        return
    after = {key for key, value in {**before, **changed}.items() if value is not None}
    for urn, names in catalog.demanded:
        if not any(key.startswith(f"{urn}:") for key in after):
            continue
        for name in names:
            if name not in after and not any(key.startswith(f"{name}.") for key in after):
                raise InvalidValue(f"{name} is required where its schema is used, and has no value.")


def left_out(catalog: Catalog, keys: Mapping[str, Any]) -> list[str]:
    """Which of the leaves a PUT takes away that names none of them: neither hidden ones, nor those set once."""
    if not any(key.startswith("urn:") for key in keys):
        return list(keys)
    return [key for key in keys if key not in catalog.immutable and not catalog.is_former(key)]
