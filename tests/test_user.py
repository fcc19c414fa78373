"""What may happen to one user: given these events, when this command, then these events or this refusal."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import settings as how
from hypothesis import strategies as st

from engine import patch, resource
from engine.catalog import USERS
from engine.events import (
    AttributesChanged,
    Change,
    Deactivated,
    Reactivated,
    RoleAssigned,
    UserDeleted,
    UserEvent,
    UserProvisioned,
)
from engine.refusals import Conflict, InvalidValue, NoTarget, NotFound, PreconditionFailed, Refusal
from engine.schema import CORE, ENTERPRISE, ROLLBOOK
from engine.settings import Role, Settings
from engine.streams import Recorded, Source
from engine.user import DeleteUser, Origin, PatchUser, ProvisionUser, ReplaceUser, Terms, User, UserCommand, evolve
from engine.user import decide as decide_on_terms

ANN = UserProvisioned(
    attributes={"userName": "ann@example.com", "title": "Engineer"},
    active=True,
    role="member",
)
MANAGER = f"{ENTERPRISE}:manager.value"


def locally(event: UserEvent) -> tuple[Source, UserEvent]:
    return "local", event


def given(*events: UserEvent | tuple[Source, UserEvent]) -> User:
    """The user whom these events make; those that are not said to be local are the directory's."""
    user = None
    for version, each in enumerate(events, 1):
        source, event = each if isinstance(each, tuple) else ("directory", each)
        user = evolve(user, Recorded(UUID(int=7), version, source, event))
    assert user is not None
    return user


def after(user: User, *events: UserEvent, source: Source = "directory") -> User:
    for event in events:
        user = evolve(user, Recorded(user.id, user.version + 1, source, event))
    return user


def decide(
    command: UserCommand, user: User | None, source: Source = "directory", settings: Settings | None = None
) -> list[UserEvent]:
    return decide_on_terms(command, user, Terms(settings or Settings(), source))


def creation(body: dict[str, Any]) -> ProvisionUser:
    return ProvisionUser(resource.read(body, USERS, []))


def put(body: dict[str, Any]) -> ReplaceUser:
    return ReplaceUser(resource.read(body, USERS, []))


def operations(*given: dict[str, Any]) -> PatchUser:
    return PatchUser(patch.read({"Operations": list(given)}, USERS, []))


def replace(path: str, value: Any) -> PatchUser:
    return operations({"op": "Replace", "path": path, "value": value})


def remove(path: str) -> PatchUser:
    return operations({"op": "Remove", "path": path})


def changed(changes: dict[str, tuple[Any, Any]], **more: Any) -> AttributesChanged:
    return AttributesChanged(changes={key: Change(*each) for key, each in changes.items()}, **more)


# Creation.


def test_a_creation_keeps_what_was_sent_and_gives_the_role_that_stands_for_none() -> None:
    body = {"userName": "ann@example.com", "name": {"formatted": "Ann"}, "externalId": "Ann-1", "active": True}

    assert decide(creation(body), None) == [
        UserProvisioned(
            attributes={"userName": "ann@example.com", "name.formatted": "Ann", "externalId": "Ann-1"},
            active=True,
            role="member",
        )
    ]


def test_a_creation_in_the_directorys_own_words_keeps_the_spelling_of_the_role_and_its_prefix() -> None:
    body = {"userName": "ann@example.com", CORE: {"active": "True", "microsoftId": "66E4", "role": "Owner"}}

    assert decide(creation(body), None) == [
        UserProvisioned(
            attributes={"userName": "ann@example.com", "microsoftId": "66E4", "role": "Owner"},
            active=True,
            role="owner",
            prefixes=(CORE,),
        )
    ]


@pytest.mark.parametrize(
    ("sent", "active"),
    [({}, True), ({"active": None}, True), ({"active": "False"}, False), ({"active": False}, False)],
)
def test_a_new_user_is_active_unless_the_directory_says_otherwise(sent: dict[str, Any], active: bool) -> None:
    assert given(*decide(creation({"userName": "ann@example.com", **sent}), None)).active is active


def test_null_and_empty_values_of_a_creation_are_not_kept() -> None:
    nothing: dict[str, Any] = {"title": None, "nickName": "", "addresses": None, "roles": [], "name": {}}
    body = {"userName": "ann@example.com", **nothing}

    assert given(*decide(creation(body), None)).attributes == {"userName": "ann@example.com"}


@pytest.mark.parametrize("body", [{}, {"userName": None}, {"userName": ""}, {"userName": " "}, {"displayName": "Ann"}])
def test_a_creation_without_a_user_name_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="userName is required"):
        decide(creation(body), None)


def test_a_user_is_created_once() -> None:
    with pytest.raises(Conflict):
        decide(creation({"userName": "ann@example.com"}), given(ANN))


@pytest.mark.parametrize("command", [put({"userName": "a"}), replace("title", "X"), DeleteUser()])
def test_nothing_can_be_done_to_whom_nobody_created(command: UserCommand) -> None:
    with pytest.raises(NotFound):
        decide(command, None)


# Changes.


def test_one_request_may_have_several_events_each_with_what_it_means() -> None:
    command = operations(
        {"op": "Replace", "path": "title", "value": "Lead"},
        {"op": "Replace", "path": f"{CORE}:role", "value": "Admin"},
        {"op": "Replace", "path": "active", "value": "False"},
    )

    assert decide(command, given(ANN)) == [
        changed({"title": ("Engineer", "Lead")}, prefixes=(CORE,)),
        RoleAssigned(from_="member", to="admin", sent="Admin", active=True),
        Deactivated(role="admin"),
    ]


def test_an_inactive_user_becomes_active_with_the_role_that_the_same_request_gives() -> None:
    command = operations({"op": "replace", "value": {"active": True, "role": "owner"}})

    assert decide(command, given(ANN, Deactivated(role="member"))) == [
        RoleAssigned(from_="member", to="owner", active=False),
        Reactivated(role="owner"),
    ]


def test_both_names_of_active_in_one_request_are_one_change() -> None:
    command = operations(
        {"op": "Replace", "path": "active", "value": "False"},
        {"op": "Replace", "path": f"{CORE}:active", "value": "False"},
    )

    assert decide(command, given(ANN)) == [AttributesChanged(prefixes=(CORE,)), Deactivated(role="member")]


@pytest.mark.parametrize(
    "command",
    [
        put({"userName": "ann@example.com", "title": "Engineer"}),
        put({"userName": "ann@example.com", "title": "Engineer", "active": True}),
        operations(),
        operations({"op": "add", "value": {}}),
        replace("title", "Engineer"),
        replace("active", "True"),
        replace("active", None),
        replace("role", ""),
        remove("role"),
        remove("active"),
        remove("nickName"),
        remove("emails"),
        remove('emails[type eq "work"]'),
        remove('emails[type eq "work"].value'),
        remove(MANAGER),
        replace("shoeSize", "44"),
        replace("manager", ""),
    ],
)
def test_a_request_that_changes_nothing_leaves_no_event(command: UserCommand) -> None:
    assert decide(command, given(ANN)) == []


def test_a_put_takes_away_what_it_leaves_out_but_neither_the_role_nor_the_seat() -> None:
    user = given(ANN, RoleAssigned(from_="member", to="owner", active=True))

    assert decide(put({"userName": "ann@example.com"}), user) == [changed({"title": ("Engineer", None)})]


def test_a_put_takes_away_the_parts_of_a_name_that_it_leaves_out() -> None:
    user = given(ANN, changed({"name.givenName": (None, "Ann"), "name.familyName": (None, "Lee")}))
    command = put({"userName": "ann@example.com", "title": "Engineer", "name": {"givenName": "Ann"}})

    assert decide(command, user) == [changed({"name.familyName": ("Lee", None)})]


@pytest.mark.parametrize(
    "command", [put({"title": "X"}), put({"userName": ""}), put({"userName": " \t"}), replace("userName", None)]
)
def test_the_user_name_can_be_changed_but_not_taken_away(command: UserCommand) -> None:
    assert decide(replace("userName", "bob@example.com"), given(ANN)) == [
        changed({"userName": ("ann@example.com", "bob@example.com")})
    ]
    with pytest.raises(InvalidValue, match="userName is required"):
        decide(command, given(ANN))


def test_a_value_that_is_taken_away_is_gone_from_the_state() -> None:
    user = given(ANN, changed({"title": ("Engineer", None)}))

    assert user.attributes == {"userName": "ann@example.com"}
    assert user.origins["title"] == Origin("directory", 2)


def test_a_prefix_is_remembered_once() -> None:
    user = given(ANN)
    named = operations({"op": "add", "value": {f"{ROLLBOOK}:active": True, CORE: {"active": True}}})

    assert decide(named, user) == [AttributesChanged(prefixes=(CORE, ROLLBOOK))]
    assert decide(named, after(user, AttributesChanged(prefixes=(ROLLBOOK, CORE)))) == []


# Roles.


def test_another_spelling_of_the_same_role_is_kept_and_assigns_nothing() -> None:
    user = given(ANN, RoleAssigned(from_="member", to="admin", active=True))

    assert decide(replace("role", "Admin"), user) == [changed({"role": ("admin", "Admin")})]


@pytest.mark.parametrize("sent", ["User", "Default Access", "msiam_access", "MSIAM_ACCESS", "{}"])
def test_a_stand_in_for_no_role_is_echoed_and_leaves_the_role_in_force(sent: str) -> None:
    user = given(ANN, RoleAssigned(from_="member", to="owner", active=True))
    user = after(user, *decide(replace("role", sent), user))

    assert (user.role, user.attributes["role"]) == ("owner", sent)


def test_an_unknown_role_is_refused_and_names_those_that_there_are() -> None:
    with pytest.raises(InvalidValue, match="Allowed: owner, admin, member"):
        decide(replace("role", "Emperor"), given(ANN))


def test_an_unknown_role_is_kept_without_effect_where_the_tenant_ignores_it() -> None:
    ignoring = Settings(unknown_role="ignore")

    user = given(*decide(creation({"userName": "a", "role": "Guest"}), None, settings=ignoring))
    assert (user.role, user.attributes["role"]) == ("member", "Guest")

    user = given(ANN, RoleAssigned(from_="member", to="admin", active=True))
    user = after(user, *decide(replace("role", "Guest"), user, settings=ignoring))
    assert (user.role, user.attributes["role"]) == ("admin", "Guest")


def test_the_roles_are_those_of_the_tenant() -> None:
    own = Settings(roles=(Role("editor", "Content Editor"), Role("reader", "Reader")))

    assert decide(creation({"userName": "a"}), None, settings=own)[0] == UserProvisioned(
        attributes={"userName": "a"}, active=True, role="reader"
    )
    assert decide(replace("role", "content editor"), given(ANN), settings=own) == [
        RoleAssigned(from_="member", to="editor", sent="content editor", active=True)
    ]


# One-way sync: the directory overwrites local edits, and each has its fate.

TITLE_EDITED = locally(changed({"title": ("Engineer", "Boss")}))
MADE_OWNER = locally(RoleAssigned(from_="member", to="owner", active=True))
SUSPENDED = locally(Deactivated(role="member"))


def test_a_local_edit_stands_until_the_directory_writes_that_value() -> None:
    user = given(ANN, TITLE_EDITED)

    assert user.attributes["title"] == "Boss"
    assert user.origins["title"] == Origin("local", 2)
    user = after(user, *decide(replace("nickName", "Annie"), user))
    assert user.origins["title"] == Origin("local", 2)


def test_the_directory_overwrites_an_attribute_that_was_edited_locally() -> None:
    user = given(ANN, TITLE_EDITED)
    events = decide(replace("title", "Lead"), user)

    assert events == [changed({"title": ("Boss", "Lead")}, overwrote={"title": 2})]
    assert after(user, *events).origins["title"] == Origin("directory", 3)


def test_the_directory_overwrites_a_role_that_was_given_locally() -> None:
    user = given(ANN, MADE_OWNER)
    events = decide(replace("role", "Member"), user)

    assert events == [RoleAssigned(from_="owner", to="member", sent="Member", active=True, overwrote={"role": 2})]
    assert after(user, *events).origins["role"] == Origin("directory", 3)


def test_the_directory_overwrites_a_local_suspension() -> None:
    user = given(ANN, SUSPENDED)
    events = decide(replace("active", True), user)

    assert events == [Reactivated(role="member", overwrote={"active": 2})]
    assert after(user, *events).origins["active"] == Origin("directory", 3)


def test_the_directory_overwrites_a_local_reactivation() -> None:
    user = given(ANN, Deactivated(role="member"), locally(Reactivated(role="member")))

    assert decide(replace("active", "False"), user) == [Deactivated(role="member", overwrote={"active": 3})]


def test_the_directory_overwrites_a_list_that_was_edited_locally() -> None:
    user = given(ANN, locally(changed({"emails": (None, [{"value": "ann@home.example", "type": "home"}])})))
    events = decide(operations({"op": "Add", "path": "emails", "value": [{"value": "ann@example.com"}]}), user)

    assert isinstance(events[0], AttributesChanged)
    assert events[0].overwrote == {"emails": 2}


def test_the_directory_overwrites_a_value_that_was_taken_away_locally() -> None:
    user = given(ANN, locally(changed({"title": ("Engineer", None)})))

    assert decide(replace("title", "Engineer"), user) == [
        changed({"title": (None, "Engineer")}, overwrote={"title": 2})
    ]


def test_the_directory_takes_away_a_value_that_was_edited_locally() -> None:
    events = decide(remove("title"), given(ANN, TITLE_EDITED))

    assert events == [changed({"title": ("Boss", None)}, overwrote={"title": 2})]


def test_a_put_that_leaves_out_a_locally_edited_value_overwrites_it() -> None:
    events = decide(put({"userName": "ann@example.com"}), given(ANN, TITLE_EDITED))

    assert events == [changed({"title": ("Boss", None)}, overwrote={"title": 2})]


def test_a_put_that_leaves_out_role_and_active_lets_local_edits_of_them_stand() -> None:
    user = given(ANN, MADE_OWNER, locally(Deactivated(role="owner")))

    assert decide(put({"userName": "ann@example.com", "title": "Engineer"}), user) == []


@pytest.mark.parametrize(
    ("edit", "command", "leaf"),
    [
        (TITLE_EDITED, replace("title", "Boss"), "title"),
        (TITLE_EDITED, put({"userName": "ann@example.com", "title": "Boss"}), "title"),
        (MADE_OWNER, replace("role", "owner"), "role"),
        (SUSPENDED, replace("active", "False"), "active"),
        (locally(changed({"title": ("Engineer", None)})), remove("title"), "title"),
        (locally(changed({"title": ("Engineer", None)})), put({"userName": "ann@example.com"}), "title"),
    ],
)
def test_the_same_value_from_the_directory_confirms_a_local_edit(
    edit: tuple[Source, UserEvent], command: UserCommand, leaf: str
) -> None:
    user = given(ANN, edit)
    events = decide(command, user)

    assert events == [AttributesChanged(confirmed={leaf: 2})]
    user = after(user, *events)
    assert user.origins[leaf] == Origin("directory", 3)
    assert decide(command, user) == []


def test_another_spelling_of_the_role_that_was_given_locally_confirms_it() -> None:
    user = given(ANN, MADE_OWNER)
    events = decide(replace("role", "Owner"), user)

    assert events == [changed({"role": ("owner", "Owner")}, confirmed={"role": 2})]
    assert after(user, *events).origins["role"] == Origin("directory", 3)


def test_a_stand_in_for_no_role_neither_overwrites_nor_confirms_a_role_that_was_given_locally() -> None:
    user = given(ANN, MADE_OWNER)
    events = decide(replace("role", "User"), user)

    assert events == [changed({"role": ("owner", "User")})]
    assert after(user, *events).origins["role"] == Origin("local", 2)


def test_a_local_edit_overwrites_nothing_whoever_set_the_value() -> None:
    user = given(ANN, TITLE_EDITED, MADE_OWNER, SUSPENDED)
    command = operations({"op": "replace", "value": {"title": "Lead", "role": "admin", "active": True}})

    assert decide(command, user, "local") == [
        changed({"title": ("Boss", "Lead")}),
        RoleAssigned(from_="owner", to="admin", active=False),
        Reactivated(role="admin"),
    ]


def test_a_second_local_edit_is_the_one_that_is_overwritten() -> None:
    user = given(ANN, TITLE_EDITED, locally(changed({"title": ("Boss", "Chief")})))

    assert decide(replace("title", "Lead"), user) == [changed({"title": ("Chief", "Lead")}, overwrote={"title": 3})]


def test_each_local_edit_of_one_request_has_its_own_fate() -> None:
    user = given(ANN, TITLE_EDITED, locally(changed({"nickName": (None, "A"), "locale": (None, "de")})))
    command = operations({"op": "replace", "value": {"title": "Lead", "nickName": "A"}})

    assert decide(command, user) == [
        changed({"title": ("Boss", "Lead")}, overwrote={"title": 2}, confirmed={"nickName": 3})
    ]


# The rules hold for every write, and only for what it changes.


def test_a_rule_is_asked_about_new_values_only() -> None:
    user = given(UserProvisioned(attributes={"userName": "Ann@Example.com"}, active=True, role="member"))

    assert decide(put({"userName": "Ann@Example.com", "title": "X"}), user) == [changed({"title": (None, "X")})]
    with pytest.raises(InvalidValue, match="lower case"):
        decide(replace("userName", "ANN@example.com"), user)


@pytest.mark.parametrize("source", ["directory", "local"])
def test_a_broken_rule_refuses_the_whole_request(source: Source) -> None:
    command = operations({"op": "replace", "value": {"title": "X", "displayName": "<Ann>"}})

    with pytest.raises(InvalidValue, match="displayName has characters"):
        decide(command, given(ANN), source)


# Versions and deletion.


@pytest.mark.parametrize("command", [put({"userName": "a"}), replace("title", "X"), DeleteUser()])
def test_a_command_for_another_version_is_refused_even_if_it_would_change_nothing(command: UserCommand) -> None:
    user = given(ANN, TITLE_EDITED)

    with pytest.raises(PreconditionFailed):
        decide_on_terms(command, user, Terms(versions=frozenset({1})))
    with pytest.raises(PreconditionFailed):
        decide_on_terms(command, user, Terms(versions=frozenset()))
    assert decide_on_terms(command, user, Terms(versions=frozenset({1, 2})))


@pytest.mark.parametrize("events", [[ANN], [ANN, SUSPENDED, MADE_OWNER]])
def test_a_deletion_says_which_role_and_whether_a_seat_becomes_free(events: list[UserEvent]) -> None:
    user = given(*events)

    assert decide(DeleteUser(), user) == [UserDeleted(active=user.active, role=user.role)]


def test_a_deleted_user_keeps_what_is_known_and_holds_no_seat() -> None:
    before = given(ANN, TITLE_EDITED)
    user = after(before, UserDeleted(active=True, role="member"))

    assert (user.is_deleted, user.active, user.role) == (True, False, "member")
    assert (user.attributes, user.origins) == (before.attributes, before.origins)


@pytest.mark.parametrize(
    "command", [put({"userName": "ann@example.com"}), replace("title", "X"), operations(), DeleteUser()]
)
def test_for_the_directory_a_deleted_user_is_not_there_and_nobody_else_can_edit_one(command: UserCommand) -> None:
    user = given(ANN, UserDeleted(active=True, role="member"))

    with pytest.raises(NotFound):
        decide(command, user)
    with pytest.raises(NotFound):
        decide_on_terms(command, user, Terms(versions=frozenset({1})))
    with pytest.raises(Conflict, match="can no longer be edited"):
        decide(command, user, "local")


# The fold.


def test_the_times_are_those_of_the_events() -> None:
    user = None
    hours = [datetime(2026, 11, 23, hour, tzinfo=UTC) for hour in (9, 10, 11)]
    events: list[UserEvent] = [ANN, Deactivated(role="member"), UserDeleted(active=False, role="member")]
    for version, (event, hour) in enumerate(zip(events, hours, strict=True), 1):
        user = evolve(user, Recorded(UUID(int=7), version, "directory", event, hour))

    assert user is not None
    assert (user.created_at, user.modified_at, user.deleted_at) == (hours[0], hours[2], hours[2])
    assert (user.id, user.version) == (UUID(int=7), 3)


def test_a_stream_that_begins_with_anything_but_a_creation_is_a_fault() -> None:
    with pytest.raises(LookupError, match="begins with Deactivated"):
        given(Deactivated(role="member"))
    with pytest.raises(LookupError, match="provisioned twice"):
        given(ANN, ANN)


# What holds for all commands.

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "title": st.text(max_size=5),
    "displayName": st.sampled_from(["Ann", "Zoë", "王 小明", ""]),
    "role": st.sampled_from(["owner", "Owner", "ADMIN", "admin", "member", "User", "", None]),
    "active": st.sampled_from([True, False, "True", "False", None]),
    "name": st.fixed_dictionaries({}, optional={"givenName": st.sampled_from(["A", "B", None])}) | st.none(),
    "manager": st.sampled_from(["a", "b", "", None, {"value": "a", "displayName": "A"}, {"value": ""}]),
    "emails": st.lists(
        st.fixed_dictionaries(
            {"value": st.sampled_from(["a@x", "b@x", "c@x"])},
            optional={"type": st.sampled_from(["work", "home"]), "primary": st.booleans()},
        ),
        max_size=3,
    ).filter(lambda emails: sum(each.get("primary", False) is True for each in emails) < 2),
    f"{CORE}:role": st.sampled_from(["Member", "Default Access", "owner"]),
}
FILTERED = {
    'emails[type eq "work"].value': st.sampled_from(["a@x", "d@x", "", None]),
    'emails[type eq "work"].primary': st.sampled_from(["True", "False"]),
    'emails[value eq "a@x"]': st.fixed_dictionaries({"value": st.just("a@x"), "display": st.sampled_from("pq")}),
    'emails[primary eq "True"].value': st.sampled_from(["a@x", "e@x"]),
    "name.givenName": st.sampled_from(["A", "B", ""]),
    MANAGER: st.sampled_from(["a", ""]),
}
BODIES = st.fixed_dictionaries({"userName": st.sampled_from(["ann", "bob"])}, optional=VALUES)
OPERATIONS = st.one_of(
    st.builds(
        lambda op, pair: {"op": op, "path": pair[0], "value": pair[1]},
        st.sampled_from(["Add", "Replace"]),
        st.one_of([st.tuples(st.just(name), value) for name, value in {**VALUES, **FILTERED}.items()]),
    ),
    st.builds(lambda op, value: {"op": op, "value": value}, st.sampled_from(["add", "replace"]), BODIES),
    st.builds(lambda path: {"op": "remove", "path": path}, st.sampled_from([*VALUES, *FILTERED])),
)
COMMANDS = st.builds(put, BODIES) | st.builds(operations, OPERATIONS)
SOURCES = st.sampled_from(["directory", "local"])


def frozen(*things: Any) -> bytes:
    return msgspec.json.encode(things)


@how(deadline=None)
@for_all(BODIES, st.lists(st.tuples(COMMANDS, SOURCES), max_size=6))
def test_what_was_asked_is_so_afterwards_and_asking_again_changes_nothing(
    body: dict[str, Any], commands: list[tuple[UserCommand, Source]]
) -> None:
    user = given(*decide(creation(body), None))
    for command, source in commands:
        untouched = frozen(user, command)
        try:
            events = decide(command, user, source)
        except (InvalidValue, NoTarget):
            assert frozen(user, command) == untouched
            continue
        before, told = user, frozen(events)
        user = after(user, *events, source=source)

        assert (frozen(before, command), frozen(events)) == (untouched, told)
        asked = wanted(command, before)
        assert {key: user.attributes.get(key) for key in asked} == asked
        assert decide(command, user, source) == []
        assert set(user.origins) >= set(user.attributes)
        assert None not in user.attributes.values()


def wanted(command: UserCommand, before: User) -> dict[str, Any]:
    """The values that the command asks for; of the role, its spelling, where one was sent."""
    assert isinstance(command, PatchUser | ReplaceUser)
    if isinstance(command, PatchUser):
        leaves = patch.apply(command.operations, before.attributes).leaves
    else:
        leaves = command.values.leaves
        assert before.attributes.keys() >= {"userName"}
    silent = {"active"} if leaves.get("role") else {"active", "role"}
    return {key: value for key, value in leaves.items() if key not in silent}


@how(deadline=None)
@for_all(st.lists(st.tuples(COMMANDS, SOURCES), max_size=6))
def test_a_local_edit_is_overwritten_or_confirmed_once_by_the_version_in_which_it_was_made(
    commands: list[tuple[UserCommand, Source]],
) -> None:
    user = given(ANN)
    standing: dict[str, int] = {}
    for command, source in commands:
        try:
            events = decide(command, user, source)
        except Refusal:
            continue
        for event in events:
            overwrote, confirmed = getattr(event, "overwrote", {}), getattr(event, "confirmed", {})
            ended = {**overwrote, **confirmed}
            assert not overwrote.keys() & confirmed.keys()
            assert ended.items() <= standing.items()
            user = after(user, event, source=source)
            standing = {key: each.version for key, each in user.origins.items() if each.source == "local"}
            assert not ended.keys() & standing.keys()
