"""Whom a page of the console is about, and what everybody who edits locally does."""

from uuid import UUID

from api.call import call_of
from api.console.visit import Visit
from engine import patch
from engine.refusals import NotFound
from engine.user import PatchUser, Terms, User
from projections.background.history import name_of as called
from projections.question import wait_for


def name_of(user: User) -> str:
    """What a person is called on a page."""
    return called(user.attributes) or "Somebody whose data were erased"


def id_of(visit: Visit) -> UUID:
    try:
        return UUID(visit.request.path_params["id"])
    except ValueError:
        raise NotFound("There is no such person; ids are UUIDs. The list of people leads to everybody.") from None


async def person_of(visit: Visit, user_id: UUID, seq: int | None = None) -> User:
    """Now, or after an event. Raises NotFound."""
    if seq is None:
        user = await visit.services.users.get(visit.tenant_id, user_id)
    else:
        await wait_for(visit.services.pool, visit.tenant_id, ["history"], seq)
        user = await visit.services.histories.state_at_seq(visit.tenant_id, user_id, seq)
    if user is None:
        if seq is not None:
            raise NotFound("This person was not here yet at that time. What follows is how it is now.")
        raise NotFound(f"There is no person with the id {user_id}. The list of people leads to everybody.")
    call_of(visit.request).user_id = user_id
    return user


async def carry_out(visit: Visit, user_id: UUID, operations: tuple[patch.Operation, ...], version: str = "") -> User:
    """A local edit, of the version that was seen if that is known. Raises PreconditionFailed if it is another now."""
    versions = frozenset({int(version[:9])}) if version.isascii() and version.isdecimal() else None
    terms = Terms(visit.session.settings, "local", versions)
    return await visit.services.engine.carry_out(PatchUser(operations), user_id, visit.cause, terms)
