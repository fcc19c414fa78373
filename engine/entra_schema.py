"""What an admin sets up in Entra: our attribute mapping, merged into the schema of a provisioning job; and app roles.

A mapping cannot be imported by itself: a job's schema is replaced whole, and holds ids and directories of its own
(Microsoft Graph, "Update synchronizationSchema"). So the admin downloads it, and everything that is not ours is kept.
"""

import copy
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid5

import msgspec
from msgspec import Struct

from engine.refusals import InvalidValue
from engine.schema import CORE
from engine.settings import Role

Json = dict[str, Any]


class MappingRow(Struct, frozen=True):
    """A line of the attribute mapping. `matching` is its precedence, 0 if nobody is matched by it."""

    source: str
    target: str
    matching: int = 0

    @property
    def kind(self) -> str:
        """The mapping type, as the portal calls it."""
        return "Direct" if self.source.isidentifier() else "Expression"

    @property
    def expression(self) -> str:
        return f"[{self.source}]" if self.source.isidentifier() else self.source


_IS_ACTIVE = 'Switch([IsSoftDeleted], , "False", "True", "True", "False")'

MAPPING = (
    MappingRow("objectId", f"{CORE}:microsoftId", 1),
    MappingRow("userPrincipalName", "userName", 2),
    MappingRow(_IS_ACTIVE, "active"),
    MappingRow("displayName", "displayName"),
    MappingRow("jobTitle", "title"),
    MappingRow('Join(" ", [givenName], [surname])', "name.formatted"),
    MappingRow(_IS_ACTIVE, f"{CORE}:active"),
    MappingRow("SingleAppRoleAssignment([appRoleAssignments])", f"{CORE}:role"),
)
"""The mapping of users, with what matches them first."""


class Merged(Struct, frozen=True):
    """The schema with our mapping in it, and what was changed, a sentence each; none if it was all there."""

    document: Json
    changes: tuple[str, ...]


def merged(document: object, *, with_groups: bool = False) -> Merged:
    """The schema that was downloaded from Entra, with our mapping of users in it. The mapping of groups is switched
    off unless groups are wanted.

    Raises InvalidValue, with what would be right, if it is no schema of a provisioning job.
    """
    schema = copy.deepcopy(_object(document))
    rules = schema.get("synchronizationRules")
    if not isinstance(rules, list):
        raise InvalidValue(
            "This is no schema of a provisioning job: it has no synchronizationRules. In Entra, open Provisioning, "
            "Mappings, Show advanced options, Review your schema here, and download the whole of it."
        )
    users = list(_mappings(rules, "User"))
    if len(users) != 1:
        raise InvalidValue(
            f"The schema has {len(users)} mappings of users, and one is needed, whose sourceObjectName "
            f"is User and whose targetObjectName ends in :User."
        )
    rule, mapping = users[0]
    changes = [*_define(schema, rule, mapping), *_map(mapping, _known(rules))]
    if not with_groups:
        changes += _without_groups(rules)
    return Merged(schema, tuple(changes))


def app_roles(tenant_id: UUID, roles: tuple[Role, ...]) -> list[Json]:
    """App roles for the manifest of the app registration: one for each role of the tenant, always with the same id."""
    return [
        {
            "allowedMemberTypes": ["User"],
            "description": f"{role.display} of the product.",
            "displayName": role.display,
            "id": str(uuid5(tenant_id, f"app role {role.value}")),
            "isEnabled": True,
            "value": role.value,
        }
        for role in roles
    ]


def _object(document: object) -> Json:
    if not isinstance(document, dict):
        raise InvalidValue("This is no schema of a provisioning job: it is no JSON object.")
    return document


def _dicts(found: object) -> Iterator[Json]:
    yield from (each for each in found if isinstance(each, dict)) if isinstance(found, list) else ()


def _mappings(rules: list[Any], source: str) -> Iterator[tuple[Json, Json]]:
    """The rules and their object mappings of this type, whatever Entra's age calls them."""
    for rule in _dicts(rules):
        for mapping in _dicts(rule.get("objectMappings")):
            is_source = str(mapping.get("sourceObjectName", "")).lower() == source.lower()
            if is_source and str(mapping.get("targetObjectName", "")).lower().endswith(f":{source.lower()}"):
                yield rule, mapping


def _known(rules: list[Any]) -> dict[str, Json]:
    """Expressions that Entra itself has parsed, by their text: its own parse of ours is the best there is."""
    return {
        attribute["source"]["expression"]: attribute["source"]
        for rule in _dicts(rules)
        for mapping in _dicts(rule.get("objectMappings"))
        for attribute in _dicts(mapping.get("attributeMappings"))
        if isinstance(attribute.get("source"), dict) and isinstance(attribute["source"].get("expression"), str)
    }


def _define(schema: Json, rule: Json, mapping: Json) -> Iterator[str]:
    """Makes our attributes known to the list of the app's attributes."""
    wanted = [row.target for row in MAPPING if row.target.startswith("urn:")]
    for directory in _dicts(schema.get("directories")):
        if directory.get("name") != rule.get("targetDirectoryName"):
            continue
        for each in _dicts(directory.get("objects")):
            if each.get("name") != mapping.get("targetObjectName"):
                continue
            attributes = each.setdefault("attributes", [])
            known = {str(attribute.get("name")) for attribute in _dicts(attributes)}
            for name in wanted:
                if name not in known:
                    attributes.append(_definition(name))
                    yield f"Added {name} to the list of the app's attributes."


def _definition(name: str) -> Json:
    return {
        "anchor": False,
        "caseExact": False,
        "defaultValue": None,
        "flowNullValues": False,
        "multivalued": False,
        "mutability": "ReadWrite",
        "name": name,
        "required": False,
        "type": "String",
        "apiExpressions": [],
        "metadata": [],
        "referencedObjects": [],
    }


def _map(mapping: Json, known: dict[str, Json]) -> Iterator[str]:
    if mapping.get("enabled") is False:
        mapping["enabled"] = True
        yield "Switched the mapping of users on."
    rows: list[Any] = mapping.setdefault("attributeMappings", [])
    if not isinstance(rows, list):
        raise InvalidValue("The mapping of users has attributeMappings that are no list. Download the schema anew.")
    for row in MAPPING:
        present = next((each for each in _dicts(rows) if each.get("targetAttributeName") == row.target), None)
        if present is None:
            rows.append(_row(row, known))
            yield f"Added {row.target} from {row.source}."
        elif _differs(present, row):
            before = present.get("source")
            present["matchingPriority"], present["flowType"] = row.matching, "Always"
            if not _is_expression(before, row):
                present["source"] = _source(row, known)
            yield f"Set {row.target} to {row.source}{_matching(row)}."
    yield from _match_by_nothing_else(rows)


def _differs(present: Json, row: MappingRow) -> bool:
    return (
        present.get("matchingPriority", 0) != row.matching
        or present.get("flowType") != "Always"
        or not _is_expression(present.get("source"), row)
    )


def _is_expression(source: object, row: MappingRow) -> bool:
    return isinstance(source, dict) and source.get("expression") == row.expression


def _matching(row: MappingRow) -> str:
    return f", with the matching precedence {row.matching}" if row.matching else ""


def _match_by_nothing_else(rows: list[Any]) -> Iterator[str]:
    """Entra tries what matches in order, and one attribute too many finds the wrong person or none."""
    ours = {row.target for row in MAPPING}
    for each in _dicts(rows):
        if each.get("matchingPriority") and each.get("targetAttributeName") not in ours:
            each["matchingPriority"] = 0
            yield f"{each.get('targetAttributeName')} matches nobody any more; it is still mapped."


def _without_groups(rules: list[Any]) -> Iterator[str]:
    for _, mapping in _mappings(rules, "Group"):
        if mapping.get("enabled") is not False:
            mapping["enabled"] = False
            yield "Switched the mapping of groups off, for this tenant takes no groups."


def _row(row: MappingRow, known: dict[str, Json]) -> Json:
    return {
        "defaultValue": None,
        "exportMissingReferences": False,
        "flowBehavior": "FlowWhenChanged",
        "flowType": "Always",
        "matchingPriority": row.matching,
        "source": _source(row, known),
        "targetAttributeName": row.target,
    }


def _source(row: MappingRow, known: dict[str, Json]) -> Json:
    return copy.deepcopy(known.get(row.expression)) or msgspec.to_builtins(_SOURCES[row.expression])


class _Node(Struct, frozen=True):
    """A parsed expression, as a job's schema holds it."""

    expression: str
    name: str
    type: str
    parameters: tuple[Json, ...] = ()


def _attribute(name: str) -> _Node:
    return _Node(f"[{name}]", name, "Attribute")


def _constant(text: str) -> _Node:
    return _Node(f'"{text}"', text, "Constant")


def _function(expression: str, *parameters: tuple[str, _Node]) -> _Node:
    """Blank arguments are simply absent (the example of parseExpression in Microsoft Graph's documentation)."""
    nodes = tuple({"key": key, "value": msgspec.to_builtins(node)} for key, node in parameters)
    return _Node(expression, expression.partition("(")[0], "Function", nodes)


_SOURCES = {
    **{row.expression: _attribute(row.source) for row in MAPPING if row.kind == "Direct"},
    _IS_ACTIVE: _function(
        _IS_ACTIVE,
        ("source", _attribute("IsSoftDeleted")),
        *(("switchValue", _constant(text)) for text in ("False", "True", "True", "False")),
    ),
    'Join(" ", [givenName], [surname])': _function(
        'Join(" ", [givenName], [surname])',
        ("separator", _constant(" ")),
        ("source", _attribute("givenName")),
        ("source", _attribute("surname")),
    ),
    "SingleAppRoleAssignment([appRoleAssignments])": _function(
        "SingleAppRoleAssignment([appRoleAssignments])", ("source", _attribute("appRoleAssignments"))
    ),
}
