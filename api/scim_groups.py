"""`/scim/v2/Groups` while groups are off: nothing to read, and a clear word to whoever writes."""

from typing import NoReturn

from starlette.requests import Request
from starlette.responses import Response

from api import scim_resource, wire
from api.call import call_of
from api.scim_users import SCOPE
from api.services import services_of
from engine import filters
from engine.catalog import USERS
from engine.refusals import NotFound, NotImplementedHere


async def search(request: Request) -> Response:
    """Entra probes groups at the start of every cycle; anything but an empty list stops the customer's whole sync."""
    await services_of(request).gate.admit(request, SCOPE)
    if text := request.query_params.get("filter"):
        filters.parse(text, USERS, call_of(request).quirks)
    return wire.scim(scim_resource.list_response([], 0))


async def read(request: Request) -> NoReturn:
    await services_of(request).gate.admit(request, SCOPE)
    raise NotFound("There are no groups here: groups are off.")


async def write(request: Request) -> NoReturn:
    await services_of(request).gate.admit(request, SCOPE)
    raise NotImplementedHere(
        "Groups are off: this service takes users only. In Entra, switch the mapping of groups off (Provisioning, "
        "Mappings, Provision Microsoft Entra ID Groups, Enabled: No)."
    )
