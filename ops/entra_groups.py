"""Brings one group of the app in step with that of the directory: first the group alone, then who is in it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.directory import Directory, SecurityGroup
from ops.entra_answer import ExchangeError, HaltedError
from ops.entra_mapping import Dialect
from ops.entra_payload import PATCH_OP, filter_query
from ops.entra_report import Action, Entry
from ops.entra_wire import Wire

GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
DUPLICATES = "DuplicateTargetEntries"

Operations = list[dict[str, Any]]


@dataclass
class GroupLinks:
    """What the job remembers between cycles: the app's id of each group, its name, and the members that it was sent.

    The members are never read again, for a group may have many.
    """

    anchors: dict[str, str] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=dict)


class GroupProvisioner:
    """One run's way with groups. Raises HaltedError; any other error is the entry's."""

    def __init__(
        self, directory: Directory, dialect: Dialect, links: GroupLinks, people: Mapping[str, str], wire: Wire
    ) -> None:
        self._directory = directory
        self._dialect = dialect
        self._links = links
        self._people = people  # the app's id of each person
        self._wire = wire

    async def synchronise(self, object_id: str) -> Entry:
        group = self._directory.group(object_id)
        try:
            action, status = await self._synchronise(group)
        except HaltedError:
            raise
        except ExchangeError as error:
            return Entry(object_id, "Other", "failure", error.code, error.status, error.detail)
        return Entry(object_id, action, "skipped" if status is None else "success", status=status)

    async def _synchronise(self, group: SecurityGroup) -> tuple[Action, int | None]:
        if group.deleted:
            return "Delete", await self._delete(group)
        found = await self._find(group)
        action: Action = "Update" if found else "Create"
        status = None
        if found is None:
            status = await self._create(group)
        elif found["displayName"] != group.display_name:
            status = await self._change(group, [self._operation("Replace", "displayName", group.display_name)])
        if operations := self._membership(group):
            status = await self._change(group, operations)
            self._links.members[group.object_id] = self._wanted(group)
        return action, status

    async def _find(self, group: SecurityGroup) -> dict[str, Any] | None:
        if anchor := self._links.anchors.get(group.object_id):
            return await self._wire.read_group(anchor)
        hits = await self._wire.search_groups(filter_query("displayName", group.display_name))
        if len(hits) > 1:
            raise ExchangeError(DUPLICATES, f"{len(hits)} groups match displayName.", 200)
        if hits:
            self._links.anchors[group.object_id] = hits[0]["id"]
        return hits[0] if hits else None

    async def _create(self, group: SecurityGroup) -> int:
        body = {
            "schemas": [GROUP],
            "externalId": group.object_id,
            "displayName": group.display_name,
            "members": [],
            "meta": {"resourceType": "Group"},
        }
        status, self._links.anchors[group.object_id] = await self._wire.create_group(body)
        return status

    async def _change(self, group: SecurityGroup, operations: Operations) -> int:
        body = {"schemas": [PATCH_OP], "Operations": operations}
        return await self._wire.change_group(self._links.anchors[group.object_id], body)

    async def _delete(self, group: SecurityGroup) -> int | None:
        self._links.members.pop(group.object_id, None)
        anchor = self._links.anchors.pop(group.object_id, None)
        return await self._wire.delete_group(anchor) if anchor else None

    def _wanted(self, group: SecurityGroup) -> set[str]:
        """The app's ids of those members whom the app has."""
        return {self._people[each] for each in group.members if each in self._people}

    def _membership(self, group: SecurityGroup) -> Operations:
        before, after = self._links.members.get(group.object_id, set()), self._wanted(group)
        added, gone = sorted(after - before), sorted(before - after)
        if self._dialect == "classic":
            return [
                self._operation(op, "members", [{"value": each} for each in some])
                for op, some in (("Add", added), ("Remove", gone))
                if some
            ]
        return [
            *(self._operation("Add", "members", [{"value": each}]) for each in added),
            *({"op": "remove", "path": f'members[value eq "{each}"]'} for each in gone),
        ]

    def _operation(self, op: str, path: str, value: object) -> dict[str, Any]:
        return {"op": op if self._dialect == "classic" else op.lower(), "path": path, "value": value}


def changed(directory: Directory, watermark: int, due: Iterable[str]) -> list[str]:
    """The groups that changed after the watermark, and those that are due again."""
    found = [each for each in directory.changed_since(watermark) if directory.is_group(each)]
    return list(dict.fromkeys([*found, *(each for each in due if directory.is_group(each))]))
