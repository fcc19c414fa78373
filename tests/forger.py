"""An issuer of identities that says whatever a test wants it to, right or wrong."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from aiohttp import web
from joserfc import jws
from joserfc.jwk import Key, RSAKey

from api.issuer import IssuerSettings
from tests.conftest import Directory
from tests.visitors import Visitor

CLIENT = "rollbook"
CLIENT_SECRET = "shared-secret-of-the-client-which-is-long"
CALLBACK = "/console/sign-in/callback"


def new_key(kid: str = "first") -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid})


KEY = new_key()  # making one takes long


@dataclass
class Forger:
    """What it answers at each of its addresses, to be changed by tests; `forms` are what its clients sent."""

    url: str = ""
    key: RSAKey = field(default_factory=lambda: KEY)
    description: Any = None
    published: Any = None
    answer: Any = None
    status: int = 200
    user: Any = None
    forms: list[dict[str, str]] = field(default_factory=list)

    @property
    def settings(self) -> IssuerSettings:
        return IssuerSettings(
            address=self.url,
            client_id=CLIENT,
            client_secret=CLIENT_SECRET,
            tenant="contoso",
            roles=[("Boss", "owner"), ("Keeper", "admin"), ("Reader", "auditor")],
        )

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Those of a token that is right, but for the nonce; None takes one away."""
        now = int(time.time())
        right = {"iss": self.url, "aud": CLIENT, "sub": "ann", "iat": now, "exp": now + 300, "roles": ["Boss"]}
        return {name: value for name, value in {**right, **changed}.items() if value is not None}

    def says(self, claims: dict[str, Any], key: Key | None = None, **header: Any) -> None:
        """Answer the next code with these claims."""
        signed_by = key or self.key
        content = json.dumps(claims).encode()
        text = jws.serialize_compact({"alg": "RS256", "kid": signed_by.kid, **header}, content, signed_by)
        self.answer = {"access_token": "access", "token_type": "Bearer", "id_token": text}

    async def _description(self, _: web.Request) -> web.Response:
        right = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "userinfo_endpoint": f"{self.url}/user",
        }
        return web.json_response(right | (self.description or {}))

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response(self.published or {"keys": [self.key.as_dict(private=False)]})

    async def _token(self, request: web.Request) -> web.Response:
        self.forms.append(dict(parse_qsl(await request.text())))
        if isinstance(self.answer, str):
            return web.Response(text=self.answer, status=self.status, content_type="text/html")
        return web.json_response(self.answer, status=self.status)

    async def _user(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer access"
        return web.json_response(self.user)


@asynccontextmanager
async def forging() -> AsyncIterator[Forger]:
    forger = Forger()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", forger._description)
    app.router.add_get("/keys", forger._keys)
    app.router.add_post("/token", forger._token)
    app.router.add_get("/user", forger._user)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    forger.url = site.name
    try:
        yield forger
    finally:
        await runner.cleanup()


@dataclass
class Asked:
    """A sign-in that was begun: the browser, and what the issuer was asked."""

    browser: Visitor
    query: dict[str, str]

    async def come_back(self, **given: str) -> httpx.Response:
        """From the issuer to the callback, with the right state unless a test gives another."""
        query = httpx.QueryParams({"state": self.query["state"], "code": "c0de"} | given)
        return await self.browser.get(f"{CALLBACK}?{query}")


async def ask(directory: Directory, target: str = "") -> Asked:
    browser = Visitor(directory.client)
    sent = await browser.get(f"/console/sign-in/issuer{target and f'?next={target}'}")
    assert sent.status_code == 303, sent.text
    return Asked(browser, dict(parse_qsl(urlsplit(sent.headers["location"]).query)))
