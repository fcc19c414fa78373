"""A resource in a body, read into leaves: every spelling of a name that directories use, one value each."""

from typing import Any

from msgspec import Struct, field

from engine import quirks as told
from engine import schema, values
from engine.catalog import Catalog
from engine.quirks import Quirk
from engine.refusals import InvalidSyntax, InvalidValue
from engine.schema import PASSWORD, Target
from engine.values import Quirks, kind, typed


class Values(Struct, frozen=True):
    """Values by leaf, as one request gives them; None where it takes a value away."""

    leaves: dict[str, Any] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ()


class Reader:
    """Collects the values of one body."""

    def __init__(self, catalog: Catalog, quirks: Quirks) -> None:
        self.catalog = catalog
        self.leaves: dict[str, Any] = {}
        self.prefixes: set[str] = set()
        self.quirks = quirks
        self.used: set[str] = set()  # schemas that have an object of their own
        self.declared: set[str] | None = None

    def read(self, members: dict[str, object], urn: str = "") -> None:
        """Take all members of an object: the resource itself, or the one that stands under a schema's URN."""
        for name, value in members.items():
            inner = None if urn else self.catalog.schema_urn(name)
            if inner:
                self._read_schema(inner, value)
            elif not urn and name.lower() in schema.COMMON:
                if name.lower() == "schemas":
                    self._read_declared(value)
            else:
                self._read_member(name, value, urn)

    def _read_schema(self, urn: str, value: object) -> None:
        if isinstance(value, dict):
            self.used.add(urn)
            if urn == self.catalog.core.id:
                self.quirks.append(Quirk.CORE_OBJECT)
            self.read(value, urn)
        elif value is not None:
            raise InvalidValue(f"{urn} takes an object, not {kind(value)}.")

    def _read_declared(self, value: object) -> None:
        """What a body declares decides nothing: Entra lists schemas that it does not use and leaves out others."""
        if value is None:
            return
        if not (isinstance(value, list) and all(isinstance(urn, str) for urn in value)):
            raise InvalidSyntax("schemas takes a list of URNs, each a string.")
        known = {self.catalog.schema_urn(urn) for urn in value}
        for urn in value:
            if not self.catalog.schema_urn(urn):
                self.quirks.append(values.unknown(Quirk.UNKNOWN_SCHEMA, urn))
        self.declared = {urn for urn in known if urn}

    def _read_member(self, name: str, value: object, urn: str) -> None:
        target, odd = self.catalog.spelled(f"{urn}:{name}" if urn else name)
        if target is None:
            self.quirks.append(unknown(name, self.catalog, urn))
            return
        if "." in name or ":" in name:
            self.quirks.append(Quirk.PATH_AS_NAME)
        self.quirks += odd
        if target.attribute.mutability == "readOnly":
            self.quirks.append(told.at(target.key, Quirk.READ_ONLY))
        elif target.attribute == PASSWORD:
            typed(PASSWORD, value, PASSWORD.name, self.quirks)  # never kept
        else:
            self.take(target, value)

    def take(self, target: Target, value: object) -> None:
        if target.prefix:
            self.prefixes.add(target.prefix)
        if target.sub and target.attribute.multi_valued:
            self.quirks.append(told.at(target.key, Quirk.WHICH_ELEMENT))
            return
        attribute = target.sub or target.attribute
        for key, taken in spread(target.leaf, attribute, typed(attribute, value, target.leaf, self.quirks)).items():
            if key in self.leaves and taken is not None:
                self.quirks.append(told.at(key, Quirk.GIVEN_TWICE))
            if taken is not None or key not in self.leaves:  # what one spelling leaves out, another one may give
                self.leaves[key] = taken

    def values(self) -> Values:
        if self.declared is not None and self.used - self.declared - {self.catalog.core.id}:
            self.quirks.append(Quirk.UNDECLARED_SCHEMA)
        return Values(self.leaves, tuple(sorted(self.prefixes)))


def unknown(name: str, catalog: Catalog, urn: str = "") -> str:
    """The quirk of a name that is none of ours, as closely as it can be told without telling the name."""
    return values.unknown(_unknown(name, catalog, urn), name)


def _unknown(name: str, catalog: Catalog, urn: str) -> str:
    target = catalog.find(name.partition("[")[0] if "[" in name else name.rpartition(".")[0])
    if target and target.attribute.sub_attributes:
        return told.at(target.key, Quirk.UNKNOWN_SUB)
    if ours := urn or catalog.urn_before(name):
        return told.at(ours, Quirk.UNKNOWN)
    return Quirk.UNKNOWN_EXTENSION if name.lower().startswith("urn:") else Quirk.UNKNOWN


def spread(key: str, attribute: schema.Attribute, value: Any) -> dict[str, Any]:
    """The leaves of one attribute. A complex one is spread whole: what its value leaves out has no value."""
    if attribute.type != "complex" or attribute.multi_valued:
        return {key: value}
    return {f"{key}.{sub.name}": (value or {}).get(sub.name) for sub in attribute.sub_attributes}


def read(body: object, catalog: Catalog, quirks: Quirks) -> Values:
    """A whole resource, as POST and PUT carry it.

    Raises InvalidSyntax if the body is no object, InvalidValue for a value of another type than its attribute's.
    """
    if not isinstance(body, dict):
        raise InvalidSyntax(f"The body must be a JSON object, a {catalog.type}; it is {kind(body)}.")
    reader = Reader(catalog, quirks)
    reader.read(body)
    return reader.values()


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    """Leaves as the tree that SCIM writes: `name.formatted` within `name`, enterprise attributes under their URN."""
    tree: dict[str, Any] = {}
    for key, value in leaves.items():
        branch, name = tree, key
        if key.startswith("urn:"):
            urn, _, name = key.rpartition(":")
            branch = tree.setdefault(urn, {})
        head, dot, tail = name.partition(".")
        if dot:
            branch.setdefault(head, {})[tail] = value
        else:
            branch[name] = value
    return tree
