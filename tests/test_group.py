"""Decisions about one group: given this state and these facts, when this command, then these events or this refusal."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from engine import patch, resource
from engine.catalog import GROUPS
from engine.events import (
    Change,
    GroupChanged,
    GroupDeleted,
    GroupEvent,
    GroupProvisioned,
    MemberAwaited,
    MembersAdded,
    MembersRemoved,
)
from engine.group import (
    DeleteGroup,
    Group,
    GroupCommand,
    PatchGroup,
    ProvisionGroup,
    ReplaceGroup,
    concerns_all,
    decide,
    evolve,
    names,
)
from engine.membership import MOST_IN_EVENT, Facts, Member, NewIds
from engine.refusals import Conflict, InvalidValue, NotFound, NotMutable, PreconditionFailed
from engine.streams import Recorded

TEAM, ANN, BOB, INNER, NEW = (UUID(int=number) for number in range(1, 6))
GROUP = Group(id=TEAM, version=3, attributes={"displayName": "Team", "externalId": "X"})
HERE = {
    str(ANN): Member(ANN, "User"),
    str(BOB): Member(BOB, "User"),
    str(INNER): Member(INNER, "Group"),
    str(TEAM): Member(TEAM, "Group"),
}


def decided(
    command: GroupCommand, *members: Member, group: Group | None = GROUP, versions: frozenset[int] | None = None
) -> list[GroupEvent]:
    facts = Facts(HERE, {each.id: each for each in members})
    return decide(command, group, facts, TEAM, NewIds({"later": NEW}), versions)


def patching(*operations: dict[str, Any]) -> PatchGroup:
    return PatchGroup(patch.read({"Operations": list(operations)}, GROUPS, []))


def values(**body: Any) -> resource.Values:
    return resource.read(body, GROUPS, [])


def named(*ids: UUID | str) -> list[dict[str, str]]:
    return [{"value": str(each)} for each in ids]


def test_a_new_group_begins_with_its_values_and_then_gets_its_members() -> None:
    command = ProvisionGroup(values(displayName="Team", members=named(ANN, INNER, "later")))

    assert decided(command, group=None) == [
        GroupProvisioned({"displayName": "Team"}),
        MembersAdded((ANN,), (INNER,)),
        MemberAwaited(NEW, "later"),
    ]


def test_members_beyond_what_an_event_holds_go_into_further_events() -> None:
    people = {str(UUID(int=number)): Member(UUID(int=number), "User") for number in range(100, 100 + MOST_IN_EVENT + 1)}
    command = ProvisionGroup(values(displayName="Team", members=named(*people)))

    events = decide(command, None, Facts(people), TEAM, NewIds())

    assert [len(each.users) for each in events if isinstance(each, MembersAdded)] == [MOST_IN_EVENT, 1]


def test_operations_of_one_request_come_to_one_difference() -> None:
    command = patching(
        {"op": "add", "path": "members", "value": named(BOB)},
        {"op": "remove", "path": f'members[value eq "{BOB}"]'},
        {"op": "remove", "path": "members", "value": named(ANN)},
        {"op": "add", "path": "members", "value": named(INNER)},
    )

    assert decided(command, HERE[str(ANN)]) == [MembersRemoved(users=(ANN,)), MembersAdded(groups=(INNER,))]


def test_what_a_put_leaves_out_is_taken_away() -> None:
    command = ReplaceGroup(values(displayName="Crew", members=named(BOB)))

    assert decided(command, HERE[str(ANN)]) == [
        GroupChanged({"displayName": Change("Team", "Crew"), "externalId": Change("X", None)}),
        MembersRemoved(users=(ANN,)),
        MembersAdded(users=(BOB,)),
    ]


def test_a_filter_that_does_not_name_values_chooses_among_all_members() -> None:
    command = patching({"op": "remove", "path": 'members[type eq "Group"]'})

    assert concerns_all(command)
    assert decided(command, HERE[str(ANN)], HERE[str(INNER)]) == [MembersRemoved(groups=(INNER,))]


def test_a_change_of_single_members_asks_for_no_others() -> None:
    command = patching(
        {"op": "Add", "path": "members", "value": named(ANN)},
        {"op": "Remove", "path": "members", "value": named(BOB)},
        {"op": "remove", "path": 'members[value eq "a" or value eq "b"]'},
    )

    assert not concerns_all(command)
    assert names(command) == [str(ANN), str(BOB), "a", "b"]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": "members", "value": []},
        {"op": "remove", "path": "members"},
        {"op": "remove", "path": 'members[value eq "a" or type eq "Group"]'},
        {"op": "remove", "path": 'members[type eq "Group" or value eq "a"]'},
        {"op": "remove", "path": 'members[value ne "a"]'},
    ],
)
def test_what_may_concern_any_member_asks_for_all_and_names_none(operation: dict[str, Any]) -> None:
    command = patching(operation)

    assert concerns_all(command)
    assert names(command) == []


def test_whom_a_group_awaits_is_chosen_by_the_value_that_was_sent_and_has_no_type() -> None:
    awaited = Member(NEW, None, "later")

    chosen = patching({"op": "remove", "path": 'members[value co "ate"]'})
    assert decided(chosen, HERE[str(ANN)], awaited) == [MembersRemoved(awaited=(NEW,))]
    with_type = patching({"op": "remove", "path": "members[type pr]"})
    assert decided(with_type, HERE[str(ANN)], awaited) == [MembersRemoved(users=(ANN,))]
    by_id = patching({"op": "remove", "path": f'members[value sw "{str(ANN)[:20]}" and value ew "2"]'})
    assert decided(by_id, HERE[str(ANN)], awaited) == [MembersRemoved(users=(ANN,))]


def test_deleting_needs_no_members() -> None:
    assert not concerns_all(DeleteGroup())
    assert decided(DeleteGroup()) == [GroupDeleted()]


def test_a_group_is_no_member_of_itself() -> None:
    with pytest.raises(Conflict):
        decided(patching({"op": "add", "path": "members", "value": named(TEAM)}))


def test_a_name_is_required() -> None:
    with pytest.raises(InvalidValue, match="displayName is required"):
        decided(ProvisionGroup(values(members=named(ANN))), group=None)
    with pytest.raises(InvalidValue, match="displayName is required"):
        decided(ReplaceGroup(values(displayName=" ")))
    with pytest.raises(InvalidValue, match="cannot be taken away"):
        decided(ReplaceGroup(values()))


@pytest.mark.parametrize(
    ("op", "path"),
    [
        ("replace", f'members[value eq "{ANN}"].value'),
        ("remove", f'members[value eq "{ANN}"].value'),
        ("replace", f'members[value eq "{ANN}"]'),
    ],
)
def test_a_member_is_not_changed_in_its_place(op: str, path: str) -> None:
    value = {} if op == "remove" else {"value": {"value": str(BOB)} if path.endswith("]") else str(BOB)}
    with pytest.raises(NotMutable):
        names(patching({"op": op, "path": path, **value}))


@pytest.mark.parametrize("element", [{"type": "User"}, {"value": ""}, {"value": None}, {}])
def test_each_member_has_a_value(element: dict[str, Any]) -> None:
    for op in ("add", "replace", "remove"):
        with pytest.raises(InvalidValue, match=r"members\[0\] has no value"):
            patching({"op": op, "path": "members", "value": [element]})
    with pytest.raises(InvalidValue, match=r"members\[0\] has no value"):
        values(displayName="Team", members=[element])


def test_what_is_not_there_or_another_version_is_not_changed() -> None:
    gone = msgspec.structs.replace(GROUP, is_deleted=True)
    for group in (None, gone):
        with pytest.raises(NotFound):
            decided(DeleteGroup(), group=group)
    with pytest.raises(PreconditionFailed):
        decided(DeleteGroup(), versions=frozenset({2}))
    assert decided(DeleteGroup(), versions=frozenset({2, 3})) == [GroupDeleted()]


def test_values_and_members_change_in_one_request() -> None:
    command = patching(
        {"op": "add", "path": "members", "value": named(ANN)},
        {"op": "replace", "path": "displayName", "value": "Crew"},
        {"op": "replace", "path": "externalId", "value": "X"},
        {"op": "remove", "path": "members", "value": named(BOB)},
    )

    assert decided(command, HERE[str(BOB)]) == [
        GroupChanged({"displayName": Change("Team", "Crew")}),
        MembersRemoved(users=(BOB,)),
        MembersAdded(users=(ANN,)),
    ]


def test_a_value_of_null_is_none() -> None:
    command = ProvisionGroup(resource.Values({"displayName": "Team", "externalId": None}))

    assert decided(command, group=None) == [GroupProvisioned({"displayName": "Team"})]


def test_a_put_concerns_all_members() -> None:
    assert concerns_all(ReplaceGroup(values(displayName="Team")))


def evolved(*events: GroupEvent) -> Group | None:
    """The group after the events, one a minute."""
    group = None
    for version, event in enumerate(events, 1):
        at = datetime(2026, 1, 1, 0, version, tzinfo=UTC)
        group = evolve(group, Recorded(TEAM, version, "directory", event, at))
    return group


def test_a_group_is_what_its_events_make_of_it() -> None:
    group = evolved(
        GroupProvisioned({"displayName": "Team", "externalId": "X", "unchanged": "Y"}),
        GroupChanged({"displayName": Change("Team", "Crew"), "externalId": Change("X", None)}),
        MembersAdded(users=(ANN,)),
        GroupDeleted(),
    )

    assert group == Group(
        id=TEAM,
        version=4,
        attributes={"displayName": "Crew", "unchanged": "Y"},
        is_deleted=True,
        created_at=datetime(2026, 1, 1, 0, 1, tzinfo=UTC),
        modified_at=datetime(2026, 1, 1, 0, 4, tzinfo=UTC),
        deleted_at=datetime(2026, 1, 1, 0, 4, tzinfo=UTC),
    )


def test_a_log_that_cannot_be_is_told() -> None:
    with pytest.raises(LookupError, match="begins with GroupDeleted"):
        evolved(GroupDeleted())
    with pytest.raises(LookupError, match="provisioned twice"):
        evolved(GroupProvisioned({"displayName": "Team"}), GroupProvisioned({"displayName": "Team"}))
