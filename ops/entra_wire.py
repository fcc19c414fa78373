"""Entra's side of the connection: sends requests over HTTP and keeps what it wrote in the run's report."""

from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from ops.entra_answer import NO_ANSWER, SCIM_JSON, TIMEOUT, Answer, ExchangeError
from ops.entra_report import Report, Written


class Wire:
    """One run's requests. `base_url` is the Tenant URL as the admin typed it. Everything raises ExchangeError."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, token: str, report: Report) -> None:
        self._session = session
        self._base = base_url.partition("?")[0].rstrip("/")
        self._authorization = f"Bearer {token}"
        self._report = report

    def location(self, target_id: str) -> str:
        return f"{self._base}/Users/{quote(target_id, safe='')}"

    async def search(self, address: str) -> list[dict[str, Any]]:
        """What a query such as `/Users?filter=…` finds. HaltedError if it is answered with 401 or 404."""
        answer = await self._exchange("GET", f"{self._base}{address}")
        return answer.listed()

    async def read(self, target_id: str) -> dict[str, Any]:
        answer = await self._exchange("GET", self.location(target_id))
        answer.expect_anchored(HTTPStatus.OK)
        return answer.user()

    async def create(self, body: dict[str, Any]) -> tuple[int, str]:
        """The status and the new user's id."""
        answer = await self._exchange("POST", f"{self._base}/Users", body)
        answer.expect(HTTPStatus.CREATED, HTTPStatus.OK)
        return answer.status, answer.user()["id"]

    async def change(self, target_id: str, body: dict[str, Any]) -> int:
        """The status of a PATCH."""
        answer = await self._exchange("PATCH", self.location(target_id), body)
        answer.expect_anchored(HTTPStatus.OK, HTTPStatus.NO_CONTENT)
        answer.check_part()
        return answer.status

    async def delete(self, target_id: str) -> int:
        """The status of a DELETE; a user that is gone already does no harm."""
        answer = await self._exchange("DELETE", self.location(target_id))
        answer.expect(HTTPStatus.NO_CONTENT, HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        return answer.status

    async def search_groups(self, filter_: str) -> list[dict[str, Any]]:
        return (
            await self._exchange("GET", f"{self._base}/Groups?excludedAttributes=members&{filter_}")
        ).listed_groups()

    async def read_group(self, target_id: str) -> dict[str, Any]:
        answer = await self._exchange("GET", f"{self._group(target_id)}?excludedAttributes=members")
        answer.expect_anchored(HTTPStatus.OK)
        return answer.group()

    async def create_group(self, body: dict[str, Any]) -> tuple[int, str]:
        """The status and the new group's id."""
        answer = await self._exchange("POST", f"{self._base}/Groups", body)
        answer.expect(HTTPStatus.CREATED, HTTPStatus.OK)
        return answer.status, answer.group()["id"]

    async def change_group(self, target_id: str, body: dict[str, Any]) -> int:
        answer = await self._exchange("PATCH", self._group(target_id), body)
        answer.expect_anchored(HTTPStatus.OK, HTTPStatus.NO_CONTENT)
        return answer.status

    async def delete_group(self, target_id: str) -> int:
        answer = await self._exchange("DELETE", self._group(target_id))
        answer.expect(HTTPStatus.NO_CONTENT, HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        return answer.status

    def _group(self, target_id: str) -> str:
        return f"{self._base}/Groups/{quote(target_id, safe='')}"

    async def _exchange(self, method: str, url: str, body: dict[str, Any] | None = None) -> Answer:
        address = URL(url, encoded=True)  # else yarl would decode the colons of a filter
        answer: Answer | None = None
        try:
            answer = await self._send(method, address, body)
        except TimeoutError as error:
            raise ExchangeError(TIMEOUT, "The target application took too long to respond.") from error
        except aiohttp.ClientError as error:
            raise ExchangeError(NO_ANSWER, str(error) or type(error).__name__) from error
        finally:
            self._keep(method, address, body, answer)
        return answer

    def _keep(self, method: str, address: URL, body: dict[str, Any] | None, answer: Answer | None) -> None:
        self._report.requests[method] += 1
        if method != "GET":
            status = answer.status if answer else None
            self._report.writes.append(Written(method, address.raw_path_qs, body, status))

    async def _send(self, method: str, url: URL, body: dict[str, Any] | None) -> Answer:
        headers = {"Authorization": self._authorization}
        if body is not None:
            headers["Content-Type"] = f"{SCIM_JSON}; charset=utf-8"
        async with self._session.request(
            method,
            url,
            data=None if body is None else msgspec.json.encode(body),
            headers=headers,
            skip_auto_headers=("Accept", "Content-Type", "User-Agent"),
            allow_redirects=False,
        ) as response:
            return Answer(response.status, response.content_type, await response.read())
