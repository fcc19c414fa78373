"""Every address of the console, and what answers it."""

from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from api.console import (
    audit,
    html,
    ledger,
    operations,
    overview,
    people,
    person,
    person_acts,
    person_edit,
    seats,
    setup,
    sign_in,
    sign_in_by_issuer,
    sync,
    tokens,
)
from api.console.visit import Handler

PAGES: dict[str, dict[str, Handler]] = {
    "/console": {"GET": overview.show},
    "/console/sign-in": {"GET": sign_in.show, "POST": sign_in.sign_in},
    sign_in_by_issuer.BEGIN: {"GET": sign_in_by_issuer.begin},
    sign_in_by_issuer.CALLBACK: {"GET": sign_in_by_issuer.end},
    "/console/sign-out": {"POST": sign_in.sign_out},
    "/console/people": {"GET": people.show},
    "/console/people/{id}": {"GET": person.show},
    "/console/people/{id}/edit": {"GET": person_edit.show, "POST": person_edit.edit},
    "/console/people/{id}/active": {"GET": person_acts.ask_whether_active, "POST": person_acts.set_active},
    "/console/people/{id}/erase": {"GET": person_acts.ask_whether_to_erase, "POST": person_acts.erase},
    "/console/seats": {"GET": seats.show},
    "/console/audit": {"GET": audit.show_events},
    "/console/audit/tail": {"GET": audit.show_tail},
    "/console/audit/events/{seq}": {"GET": audit.show_event},
    "/console/audit/local-edits": {"GET": audit.show_local_edits},
    "/console/audit/changes": {"GET": audit.show_changes},
    "/console/audit/questions": {"GET": audit.show_questions},
    "/console/audit/questions/{name}": {"GET": audit.show_question},
    "/console/audit/files/{name}": {"GET": audit.take_file},
    "/console/audit/evidence": {"GET": ledger.show},
    "/console/audit/evidence/checkpoint": {"GET": ledger.take_checkpoint},
    "/console/audit/evidence/file": {"GET": ledger.take_evidence},
    "/console/sync": {"GET": sync.show},
    "/console/operations": {"GET": operations.show},
    "/console/setup": {"GET": setup.show},
    "/console/setup/mapping": {"POST": setup.merge_mapping},
    "/console/tokens": {"GET": tokens.show, "POST": tokens.issue},
    "/console/tokens/{id}/rotate": {"GET": tokens.ask_to_rotate, "POST": tokens.rotate},
    "/console/tokens/{id}/revoke": {"GET": tokens.ask_to_revoke, "POST": tokens.revoke},
}


class _Files(StaticFiles):
    """Files of ours."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        return html.kept(await super().get_response(path, scope))


STATIC = Mount("/console/static", _Files(directory=html.HERE / "static"))
