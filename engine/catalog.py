"""What names mean: the attributes that resources of one type have in one tenant, by every name that directories use."""

from collections.abc import Iterator
from typing import Literal

from engine import quirks
from engine.quirks import Quirk
from engine.schema import (
    BESIDE_THE_SCHEMAS,
    ENTERPRISE_USER,
    GROUP,
    ROLLBOOK_USER,
    USER,
    Leaf,
    Schema,
    Target,
)

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

    def extended(self, schemas: tuple[Schema, ...]) -> "Catalog":
        """The same with further extensions, a tenant's own."""
        return Catalog(self.type, self.core, (*self.extensions, *schemas), self._aliases)

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
            if target.prefix or attribute.mutability == "readOnly":
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
