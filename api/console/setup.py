"""The page that leads an admin through the set-up of Entra, and says what goes wrong."""

from datetime import UTC, datetime

import msgspec
from starlette.responses import Response

from api.console import advice
from api.console.visit import Visit, for_role
from api.scim_users import base_url
from engine import entra_schema
from engine.entra_schema import MAPPING
from engine.refusals import BadRequest, InvalidValue
from projections.setup_mistakes import setup_mistakes
from projections.setup_progress import setup_progress


@for_role("admin")
async def show(visit: Visit) -> Response:
    now, settings = datetime.now(UTC), visit.session.settings
    return visit.page(
        "setup.html",
        tenant_url=base_url(visit.request),
        progress=await setup_progress(visit.services.pool, visit.tenant_id, now),
        mistakes=await setup_mistakes(visit.services.pool, visit.tenant_id, settings, now),
        advice=advice,
        mapping=MAPPING,
        own_targets=[row.target for row in MAPPING if row.target.startswith("urn:")],
        roles=settings.roles,
        app_roles=_written(entra_schema.app_roles(visit.tenant_id, settings.roles)),
        with_groups=settings.groups == "on",
    )


@for_role("admin")
async def merge_mapping(visit: Visit) -> Response:
    """The schema that the admin downloaded from Entra, with our mapping in it."""
    form = await visit.form()
    with_groups = visit.session.settings.groups == "on"
    try:
        merged = entra_schema.merged(_json(form.get("schema", "")), with_groups=with_groups)
    except (BadRequest, InvalidValue) as refusal:
        return visit.page("setup-merged.html", 400, wrong=refusal.detail, merged=None, text=form.get("schema", ""))
    return visit.page("setup-merged.html", wrong="", merged=merged, text=_written(merged.document))


def _json(text: str) -> object:
    try:
        found: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise BadRequest(
            "This is not JSON, or not all of it. In Entra, download the schema, open the file, and paste everything."
        ) from None
    return found


def _written(content: object) -> str:
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
