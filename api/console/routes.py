"""Every address of the console, and what answers it."""

from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from api.console import html, overview, sign_in, tokens
from api.console.visit import Handler

PAGES: dict[str, dict[str, Handler]] = {
    "/console": {"GET": overview.show},
    "/console/sign-in": {"GET": sign_in.show, "POST": sign_in.sign_in},
    "/console/sign-out": {"POST": sign_in.sign_out},
    "/console/tokens": {"GET": tokens.show},
    "/console/tokens/{id}/revoke": {"GET": tokens.ask_to_revoke, "POST": tokens.revoke},
}


class _Files(StaticFiles):
    """Files of ours, whose addresses change with their content."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


STATIC = Mount("/console/static", _Files(directory=html.HERE / "static"))
