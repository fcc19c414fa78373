"""Somebody who signs in to the console and walks through it, without a browser."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx

from tests.conftest import Directory, issue

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@dataclass
class Visitor:
    """One browser's worth of cookies."""

    client: httpx.AsyncClient
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str) -> httpx.Response:
        return await self._send("GET", path)

    async def post(
        self, path: str, fields: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send a form as it is, with no word of ours in it."""
        sent = {"Content-Type": "application/x-www-form-urlencoded", **SAME_ORIGIN, **(headers or {})}
        return await self._send("POST", path, content=urlencode(fields or {}), headers=sent)

    async def submit(self, page: str, path: str = "", **fields: Any) -> httpx.Response:
        """Open a page, and send a form with the word that stands there to `path`, or to the page's own address."""
        opened = await self.get(page)
        assert opened.status_code == 200, opened.text
        return await self.post(path or page, {"form_word": form_word(opened), **fields})

    async def sign_in(self, token: str) -> httpx.Response:
        return await self.post("/console/sign-in", {"token": token})

    async def _send(self, method: str, path: str, **sent: Any) -> httpx.Response:
        headers = {
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            **sent.pop("headers", {}),
        }
        self.client.cookies.clear()
        response = await self.client.request(method, path, headers=headers, **sent)
        for name, value in response.cookies.items():
            self.cookies[name] = value
        for text in response.headers.get_list("set-cookie"):
            if "Max-Age=0" in text:
                self.cookies.pop(text.partition("=")[0], None)
        self.client.cookies.clear()
        return response


def form_word(page: httpx.Response) -> str:
    found = re.search(r'name="form_word" value="([0-9a-f]{64})"', page.text)
    assert found, "no form of the page has the word by which it proves to be ours"
    return found[1]


async def visitor(directory: Directory, *scopes: str) -> Visitor:
    """Somebody who has signed in with a new token of these scopes."""
    found = Visitor(directory.client)
    response = await found.sign_in(await issue(directory.services, directory.tenant_id, *scopes))
    assert response.status_code == 303, response.text
    return found
