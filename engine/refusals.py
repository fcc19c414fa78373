"""Why a request is refused: one tree of exceptions, each with the status and the `scimType` of its answer.

    Refusal                        an answer for the client (RFC 7644 §3.12)
    ├── BadRequest                 400
    │   ├── InvalidSyntax          invalidSyntax
    │   ├── InvalidFilter          invalidFilter
    │   ├── InvalidPath            invalidPath
    │   ├── InvalidValue           invalidValue
    │   ├── NoTarget               noTarget
    │   ├── InvalidCursor          invalidCursor (RFC 9865)
    │   ├── ExpiredCursor          expiredCursor
    │   ├── InvalidCount           invalidCount
    │   └── NotMutable             mutability
    ├── NotAuthenticated           401
    ├── Forbidden                  403
    │   └── SeatLimitReached
    ├── NotFound                   404
    ├── MethodNotAllowed           405
    ├── NotAcceptable              406
    ├── Conflict                   409
    │   └── NotUnique              uniqueness
    ├── PreconditionFailed         412
    ├── TooLarge                   413
    ├── UnsupportedMediaType       415
    ├── NotImplementedHere         501
    └── Busy                       503, to be tried again

A refusal is written for the admin who reads it in the directory's provisioning log: what was wrong, what would be
right. A fault (anything that is not a Refusal) is for our log and never reaches the client.
"""

from collections.abc import Sequence
from typing import ClassVar


class Refusal(Exception):  # noqa: N818  an answer, not an error of ours
    """The request was refused."""

    status: ClassVar[int] = 400
    scim_type: ClassVar[str | None] = None

    def __init__(self, detail: str = "", allow: Sequence[str] = ()) -> None:
        self.allow = allow  # the methods that the address takes
        self.detail = detail or (self.__doc__ or "").strip()
        super().__init__(self.detail)


class BadRequest(Refusal):
    """The request is not understood."""


class InvalidSyntax(BadRequest):
    """The body is not of the form that SCIM asks for."""

    scim_type = "invalidSyntax"


class InvalidFilter(BadRequest):
    """The filter is not understood."""

    scim_type = "invalidFilter"


class InvalidPath(BadRequest):
    """The path of the operation is not understood."""

    scim_type = "invalidPath"


class InvalidValue(BadRequest):
    """A value is missing or not of its attribute's type."""

    scim_type = "invalidValue"


class NoTarget(BadRequest):
    """The path names nothing that the operation could apply to."""

    scim_type = "noTarget"


class NotMutable(BadRequest):
    """The attribute cannot be changed."""

    scim_type = "mutability"


class InvalidCursor(BadRequest):
    """The cursor is none that this query was answered with; begin again with an empty one."""

    scim_type = "invalidCursor"


class ExpiredCursor(BadRequest):
    """The cursor has expired; begin again with an empty one."""

    scim_type = "expiredCursor"


class InvalidCount(BadRequest):
    """The count is not one that a page can have."""

    scim_type = "invalidCount"


class NotAuthenticated(Refusal):
    """A bearer token is needed."""

    status = 401


class BearerTwice(NotAuthenticated):
    """The word Bearer was pasted together with the token."""


class Forbidden(Refusal):
    """The token does not allow this."""

    status = 403


class SeatLimitReached(Forbidden):
    """Every seat of the tenant is taken."""


class NotFound(Refusal):
    """Nothing is found here."""

    status = 404


class MethodNotAllowed(Refusal):
    """This address does not take that method."""

    status = 405


class NotAcceptable(Refusal):
    """What is answered here is application/scim+json, which Accept excludes."""

    status = 406


class Conflict(Refusal):
    """The request conflicts with what is stored."""

    status = 409


class NotUnique(Conflict):
    """Another user has this value already."""

    scim_type = "uniqueness"


class PreconditionFailed(Refusal):
    """The resource is not the version that the condition of the request names; read it again."""

    status = 412


class TooLarge(Refusal):
    """The request is larger than what is taken here."""

    status = 413


class UnsupportedMediaType(Refusal):
    """The body must be application/scim+json or application/json."""

    status = 415


class NotImplementedHere(Refusal):
    """This service does not offer that."""

    status = 501


class Busy(Refusal):
    """The service could not do this now; try again in a moment."""

    status = 503
