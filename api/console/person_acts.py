"""What is asked about before it happens to a person: deactivated, reactivated, erased."""

from typing import get_args

import msgspec
from starlette.responses import Response

from api.console.somebody import carry_out, id_of, name_of, person_of
from api.console.visit import Visit, done, for_role
from engine import patch
from engine.catalog import users_of
from engine.refusals import BadRequest
from projections.certificate import Basis

ARTICLE_17 = {
    "a": "no longer necessary",
    "b": "consent withdrawn",
    "c": "objection",
    "d": "unlawful processing",
    "e": "legal obligation",
    "f": "collected from a child",
}


@for_role("admin")
async def ask_whether_active(visit: Visit) -> Response:
    """What will happen, before it does."""
    user = await person_of(visit, id_of(visit))
    return visit.page("person-active.html", user=user, name=name_of(user))


@for_role("admin")
async def set_active(visit: Visit) -> Response:
    form = await visit.form()
    user = await person_of(visit, id_of(visit))
    active = form.get("active") == "true"
    body = {"Operations": [{"op": "replace", "path": "active", "value": active}]}
    operations = patch.read(body, users_of(visit.session.settings), [])
    await carry_out(visit, user.id, operations)
    return done(f"/console/people/{user.id}", "reactivated" if active else "deactivated")


@for_role("admin")
async def ask_whether_to_erase(visit: Visit) -> Response:
    user = await person_of(visit, id_of(visit))
    return visit.page("person-erase.html", user=user, name=name_of(user), bases=ARTICLE_17, wrong="")


@for_role("admin")
async def erase(visit: Visit) -> Response:
    """Erase the person for good, if the one who asks has written who is meant."""
    form = await visit.form()
    user = await person_of(visit, id_of(visit))
    wanted = user.attributes.get("userName", "")
    if form.get("confirmation", "").strip().lower() != wanted.lower():
        return visit.page(
            "person-erase.html",
            400,
            user=user,
            name=name_of(user),
            bases=ARTICLE_17,
            wrong="Nothing was erased: write the userName exactly as it stands above.",
        )
    basis = form.get("basis") or None
    if basis is not None and basis not in get_args(Basis):
        raise BadRequest("basis takes a letter of article 17(1) GDPR, a to f.")
    await visit.services.accesses.drain()  # looks that named the person, and are not noted yet
    certificate = await visit.services.erasures.erase(user.id, visit.cause, msgspec.convert(basis, Basis | None))
    return visit.page("person-erased.html", certificate=certificate)
