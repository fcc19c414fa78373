"""`/scim/v2/Me` (RFC 7644 §3.11): the resource of the person whose own token asks.

What a person changes is a local edit, which the directory may overwrite; and nothing that gives rights, or by which the
directory knows the person, can be changed here.
"""

from collections.abc import Sequence
from typing import NoReturn

from starlette.requests import Request
from starlette.responses import Response

from api import scim_users, wire
from api.call import Call, call_of
from api.services import services_of
from engine import patch
from engine.elements import ChangeElements
from engine.engine import Carried
from engine.events import UserEvent
from engine.patch import Operation
from engine.refusals import Forbidden, InvalidPath, NotFound, NotImplementedHere
from engine.tokens import OWN
from engine.user import PatchUser, Terms, User

# Of the attributes of the core User, those that are the person's own business.
_PLAIN = ("displayName", "nickName", "profileUrl", "preferredLanguage", "locale", "timezone")
CHANGEABLE = frozenset(("name", *_PLAIN, "phoneNumbers", "ims", "photos", "addresses"))


async def read(request: Request) -> Response:
    me = await _oneself(request)
    return scim_users.known(request, me) or await scim_users.answer_with(request, me)


async def change(request: Request) -> Response:
    """A PATCH (RFC 7644 §3.5.2) of what is the person's own business."""
    me, call = await _oneself(request), call_of(request)
    body = await wire.read_json(request)
    call.expect_names_of(InvalidPath)
    operations = patch.read(body, scim_users.catalog_of(call), call.quirks)
    scim_users.note_body(call, body, patch.PATCH_OP)
    for each in operations:
        _check(each)
    terms = Terms(call.admitted.settings, "local", scim_users.if_match(request))
    user = await services_of(request).engine.carry_out(PatchUser(operations), me.id, call.cause, terms, _counting(call))
    return await scim_users.answer_with(request, user)


async def refuse(request: Request) -> NoReturn:
    """Nobody makes, replaces or deletes oneself: that is the directory's."""
    await _oneself(request)
    raise NotImplementedHere(f"{request.method} of /Me is not offered: the directory does that. GET and PATCH are.")


async def _oneself(request: Request) -> User:
    services, call = await scim_users.let_in(request, OWN, scim_users.SCOPE)
    call.source = "local"
    call.user_id = call.admitted.user_id
    if call.user_id is None:
        raise NotFound("This token is nobody's own. Issue one with: rollbook token issue --tenant NAME --user ID")
    user = await services.users.get(call.admitted.tenant_id, call.user_id)
    if user is None or user.is_deleted:
        raise NotFound("The person whose token this is, is not here any more.")
    return user


def _check(operation: Operation) -> None:
    keys = [operation.key] if isinstance(operation, ChangeElements) else operation.leaves
    for key in keys:
        if key.partition(".")[0] not in CHANGEABLE:
            raise Forbidden(f"{key} is the directory's to change. Of oneself, one may change: {_NAMES}.")


def _counting(call: Call) -> Carried:
    def note(before: User | None, events: Sequence[UserEvent]) -> None:  # noqa: ARG001  what it was is not asked
        call.changes += len(events)

    return note


_NAMES = ", ".join(sorted(CHANGEABLE))
