"""What names mean: the attributes that resources of one type have in one tenant, by every name that directories use."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

from engine import quirks
from engine.quirks import Quirk
from engine.schema import (
    BESIDE_THE_SCHEMAS,
    ENTERPRISE_USER,
    GROUP,
    PASSWORD,
    ROLLBOOK_USER,
    USER,
    Leaf,
    Schema,
    Target,
)
from engine.settings import Extension, Settings

MOST_REMEMBERED = 2_000  # names, which clients choose
LONGEST_REMEMBERED = 200  # characters


class Catalog:
    """The schemas of one type of resource: the core one, extensions, and aliases, whose attributes are the core's."""

    def __init__(
        self,
        type_: Literal["User", "Group"],
        core: Schema,
        extensions: tuple[Schema, ...] = (),
        aliases: tuple[Schema, ...] = (),
    ) -> None:
        self.type = type_
        self.core = core
        self.extensions = extensions
        self.schemas = (core, *extensions, *aliases)
        self._aliases = aliases
        self._urns = {each.id.lower(): each.id for each in self.schemas}
        self._targets = {name.lower(): target for name, target in self._named()}
        self._remembered: dict[str, tuple[Target | None, tuple[str, ...]]] = {}
        self.leaves = {leaf.key: leaf for leaf in self._places()}
        self.own: tuple[Schema, ...] = ()
        self.immutable = frozenset[str]()
        self.hidden = frozenset[str]()
        self.on_request = frozenset[str]()
        self.always_shown = frozenset[str]()
        self.demanded: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def extended(self, schemas: tuple[Schema, ...]) -> "Catalog":
        """The same with further extensions, a tenant's own."""
        found = Catalog(self.type, self.core, (*self.extensions, *schemas), self._aliases)
        named = [(f"{each.id}:{attribute.name}", attribute) for each in schemas for attribute in each.attributes]
        found.own = schemas
        found.immutable = frozenset(
            key for key, leaf in found.leaves.items() if key.startswith("urn:") and found.is_immutable(leaf)
        )
        found.hidden = frozenset(
            key for key in found.leaves if (whole := found.find(key)) and whole.attribute.returned == "never"
        )
        found.on_request = frozenset(key for key, attribute in named if attribute.returned == "request")
        found.always_shown = frozenset(key for key, attribute in named if attribute.returned == "always")
        found.demanded = tuple(
            (each.id, tuple(f"{each.id}:{attribute.name}" for attribute in each.attributes if attribute.required))
            for each in schemas
        )
        return found

    def is_immutable(self, leaf: Leaf) -> bool:
        """Whether the place, or the complex attribute that it is a part of, is set once and never again."""
        whole = self._targets[leaf.key.lower()] if leaf.key.lower() in self._targets else self.find(leaf.key)
        return leaf.attribute.mutability == "immutable" or bool(whole and whole.attribute.mutability == "immutable")

    def is_former(self, key: str) -> bool:
        """Whether the stored value is of a schema that the tenant removed, and is not shown any more."""
        return key.startswith("urn:") and key not in self.leaves

    def shown(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """The values by leaf without what is never returned, and what is of a schema that was removed."""
        return {key: value for key, value in attributes.items() if key not in self.hidden and not self.is_former(key)}

    def _named(self) -> Iterator[tuple[str, Target]]:
        aliased = {each.name for alias in self._aliases for each in alias.attributes}
        for attribute in BESIDE_THE_SCHEMAS + self.core.attributes:
            yield attribute.name, Target(attribute.name, attribute)
            prefix = self.core.id if attribute.name in aliased else None
            yield f"{self.core.id}:{attribute.name}", Target(attribute.name, attribute, prefix=prefix)
        for schema in self.extensions:
            for attribute in schema.attributes:
                name = f"{schema.id}:{attribute.name}"
                yield name, Target(name, attribute)
        for schema in self._aliases:
            for attribute in schema.attributes:
                yield f"{schema.id}:{attribute.name}", Target(attribute.name, attribute, prefix=schema.id)
        for attribute in ENTERPRISE_USER.attributes:  # Entra names it without its URN, too (`manager[value eq "…"]`)
            if attribute.name == "manager" and ENTERPRISE_USER in self.extensions:
                yield attribute.name, Target(f"{ENTERPRISE_USER.id}:{attribute.name}", attribute)

    def _places(self) -> Iterator[Leaf]:
        """Every place that a client may write, in the order of the schemas."""
        for target in dict.fromkeys(self._targets.values()):
            attribute = target.attribute
            if target.prefix or attribute.mutability == "readOnly" or attribute == PASSWORD:
                continue
            if attribute.type == "complex" and not attribute.multi_valued:
                for sub in attribute.sub_attributes:
                    yield Leaf(f"{target.key}.{sub.name}", sub)
            else:
                yield Leaf(target.key, attribute)

    def find(self, name: str) -> Target | None:
        """What an attribute's name means: `title`, `name.formatted`, `urn:…:User:manager.value`; None if it is unknown.

        Takes the core schema's URN before any core name (RFC 7644 §3.10), and a dot for the colon after a URN, which
        directories of 2018 wrote. Names compare without case (RFC 7643 §2.1).
        """
        return self.spelled(name)[0]

    def spelled(self, name: str) -> tuple[Target | None, tuple[str, ...]]:
        """What an attribute's name means, and the quirks of its spelling."""
        found = self._remembered.get(name)
        if found is None:
            target = self._find(name.lower())
            found = target, tuple(self._odd_spellings(name.lower(), target)) if target else ()
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            if len(name) <= LONGEST_REMEMBERED:
                self._remembered[name] = found
        return found

    def _find(self, folded: str) -> Target | None:
        for urn in self._urns:
            if folded.startswith(urn + "."):
                folded = f"{urn}:{folded[len(urn) + 1 :]}"
        if found := self._targets.get(folded):
            return found
        head, dot, tail = folded.rpartition(".")
        parent = self._targets.get(head) if dot else None
        sub = parent.attribute.sub(tail) if parent else None
        return Target(parent.key, parent.attribute, sub, parent.prefix) if parent and sub else None

    def _odd_spellings(self, folded: str, target: Target) -> Iterator[str]:
        if any(folded.startswith(urn + ".") for urn in self._urns):
            yield quirks.at(target.leaf, Quirk.DOT_FOR_COLON)
        if target.key.startswith("urn:") and not folded.startswith("urn:"):
            yield quirks.at(target.leaf, Quirk.NO_URN)

    def targets_of(self, urn: str) -> list[Target]:
        """The attributes of one of the schemas."""
        return [self._targets[f"{urn}:{each.name}".lower()] for each in self._schema(urn).attributes]

    def _schema(self, urn: str) -> Schema:
        return next(each for each in self.schemas if each.id == urn)

    def leaves_of(self, urn: str) -> list[str]:
        """The keys of all places that an extension's attributes have."""
        targets = {target.key for name, target in self._targets.items() if name.startswith(urn.lower() + ":")}
        return [key for key in self.leaves if key in targets or key.rpartition(".")[0] in targets]

    def schema_urn(self, name: str) -> str | None:
        """The URN of one of the schemas in its own spelling, or None. Names compare without case (RFC 7643 §2.1)."""
        return self._urns.get(name.lower())

    def urn_before(self, name: str) -> str | None:
        """The URN of one of the schemas, if the name begins with it as a prefix."""
        folded = name.lower()
        return next((ours for urn, ours in self._urns.items() if folded.startswith(urn + ":")), None)


USERS = Catalog("User", USER, (ENTERPRISE_USER,), (ROLLBOOK_USER,))
GROUPS = Catalog("Group", GROUP)


def users_of(settings: Settings) -> Catalog:
    """The attributes of people in a tenant with these settings."""
    return _extended("User", settings.schemas) if settings.schemas else USERS


def groups_of(settings: Settings) -> Catalog:
    """The attributes of groups in a tenant with these settings."""
    return _extended("Group", settings.schemas) if settings.schemas else GROUPS


@lru_cache(maxsize=1_000)
def _extended(type_: Literal["User", "Group"], extensions: tuple[Extension, ...]) -> Catalog:
    own = tuple(each.schema for each in extensions if each.resource == type_)
    builtin = USERS if type_ == "User" else GROUPS
    return builtin.extended(own) if own else builtin
