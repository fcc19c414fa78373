"""What Entra makes of an answer: an error code of its log, or a user whose JSON types it could take."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NoReturn

import msgspec

from ops.entra_mapping import ENTERPRISE

LIST_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
SCIM_JSON = "application/scim+json"

_SYSTEM = "SystemForCrossDomainIdentityManagement"
INCOMPATIBLE = f"{_SYSTEM}ServiceIncompatible"
INVALID_CREDENTIALS = f"{_SYSTEM}InvalidCredentials"
INVALID_ANCHOR = "InvalidAnchor"
TIMEOUT = "Timeout"
NO_ANSWER = "WebExceptionProtocolError"
_BUSY = "TooManyRequests"
_BROKEN = "InternalServerError"

TRANSIENT = frozenset({_BUSY, _BROKEN, TIMEOUT, NO_ANSWER})
"""The codes after which the next cycle tries again; after all others the object waits in escrow."""

_CODES = {
    400: f"{_SYSTEM}BadRequest",
    403: "InsufficientRights",
    405: "MethodNotAllowed",
    409: "Conflict",
    422: "UnprocessableEntity",
    429: _BUSY,
    501: "NotImplemented",
}
_OF_USER = ("id", "userName")
_OF_GROUP = ("id", "displayName")
_TEXTS = {"userName", "externalId", "displayName", "title", "preferredLanguage"}
_OBJECTS = {"name", "meta"}
_ARRAYS = {"emails", "addresses", "phoneNumbers", "roles"}


class ExchangeError(Exception):
    """An answer that Entra cannot go on with, under the name that its log has for it.

    ExchangeError        this object fails
    └── HaltedError      the job stops and goes into quarantine
    """

    def __init__(self, code: str, detail: str, status: int | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.status = status


class HaltedError(ExchangeError):
    """Bad credentials, or a query that is answered with 404."""


@dataclass(frozen=True)
class Answer:
    """A response. Its methods raise ExchangeError, or HaltedError where they say so."""

    status: int
    content_type: str
    content: bytes

    def expect(self, *statuses: HTTPStatus) -> None:
        """Raises HaltedError on 401, whatever was asked."""
        if self.status == HTTPStatus.UNAUTHORIZED:
            raise HaltedError(INVALID_CREDENTIALS, self.unexpected, self.status)
        if self.status not in statuses:
            self._refused()

    def expect_anchored(self, *statuses: HTTPStatus) -> None:
        """The same for an id that Entra remembers."""
        if self.status == HTTPStatus.NOT_FOUND:
            detail = "The user that was created or matched before no longer exists; restart the job."
            raise ExchangeError(INVALID_ANCHOR, detail, self.status)
        self.expect(*statuses)

    @property
    def unexpected(self) -> str:
        phrase = HTTPStatus(self.status).phrase if self.status in set(HTTPStatus) else "Unknown"
        expected = "the expected HTTP/200 OK response"
        return f"An HTTP/{self.status} {phrase} response was returned rather than {expected}"

    def json(self) -> dict[str, Any]:
        """The body, which must be a JSON object and labelled as SCIM."""
        if self.content_type != SCIM_JSON:
            self._incompatible(f"Content-Type is {self.content_type}, not {SCIM_JSON}")
        try:
            return msgspec.json.decode(self.content, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            self._incompatible(str(error))

    def listed(self, required: tuple[str, ...] = _OF_USER) -> list[dict[str, Any]]:
        """The users of a ListResponse, or other resources of which something else is required."""
        if self.status == HTTPStatus.NOT_FOUND:
            raise HaltedError(INCOMPATIBLE, self.unexpected, self.status)
        self.expect(HTTPStatus.OK)
        body = self.json()
        found, total = body.get("Resources", []), body.get("totalResults")
        if LIST_RESPONSE not in body.get("schemas", []) or not isinstance(found, list):
            self._incompatible("no ListResponse")
        if type(total) is not int or total < len(found) or (total and not found):
            self._incompatible("totalResults and Resources disagree")
        return [self._checked(each, required) for each in found]

    def listed_groups(self) -> list[dict[str, Any]]:
        """The groups of a ListResponse, which must have no members: nobody asked for them."""
        found = self.listed(required=_OF_GROUP)
        if any("members" in each for each in found):
            self._incompatible("MultipleEntriesInResponse: members, which were excluded")
        return found

    def group(self) -> dict[str, Any]:
        return self._checked(self.json(), _OF_GROUP)

    def user(self) -> dict[str, Any]:
        """The whole user: what is nested under a URN only is not there."""
        return self._checked(self.json())

    def check_part(self) -> None:
        """A PATCH may be answered with the user, a part of it, or nothing."""
        if self.content:
            self._check_types(self.json())

    def _checked(self, resource: Any, required: tuple[str, ...] = _OF_USER) -> dict[str, Any]:
        if not isinstance(resource, dict):
            self._incompatible("a resource is no object")
        for name in required:
            if not isinstance(resource.get(name), str) or not resource[name]:
                self._incompatible(f"{name} is missing")
        self._check_types(resource)
        return resource

    def _check_types(self, resource: dict[str, Any]) -> None:
        if not isinstance(resource.get("active", True), bool):
            self._incompatible("active is no boolean")
        for name, value in resource.items():
            if name in _TEXTS and not isinstance(value, str | None):
                self._incompatible(f"{name} is no text")
            if name in _OBJECTS or name.startswith("urn:"):
                self._check_object(name, value)
            if name in _ARRAYS:
                self._check_elements(name, value)
        self._check_object("manager", (resource.get(ENTERPRISE) or {}).get("manager"))

    def _check_object(self, name: str, value: Any) -> None:
        if not isinstance(value, dict | None):
            self._incompatible(f"{name} is no object")

    def _check_elements(self, name: str, elements: Any) -> None:
        if not isinstance(elements, list | None):
            self._incompatible(f"{name} is no array")
        for element in elements or []:
            if not isinstance(element, dict):
                self._incompatible(f"{name} has an element that is no object")
            if not isinstance(element.get("primary", False), bool):
                self._incompatible(f"{name}.primary is no boolean")

    def _incompatible(self, reason: str) -> NoReturn:
        opening = "We are not able to deserialize the resource received from your SCIM endpoint"
        raise ExchangeError(INCOMPATIBLE, f"{opening}: {reason}", self.status)

    def _refused(self) -> NoReturn:
        default = _BROKEN if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR else INCOMPATIBLE
        web_response = self.content.decode(errors="replace")
        raise ExchangeError(_CODES.get(self.status, default), f"Web Response: {web_response}", self.status)
