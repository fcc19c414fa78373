"""What a client accepts (RFC 9110 §12.5.1): whether a SCIM answer is among it."""

import re
from collections.abc import Iterator, Sequence

from api.wire import JSON, SCIM
from engine.refusals import NotAcceptable

_ZERO = re.compile(r"q\s*=\s*0(\.0*)?")


def check(fields: Sequence[str]) -> None:
    """Raises NotAcceptable if neither type of a SCIM answer is accepted (RFC 7644 §3.8); no field accepts all."""
    ranges = dict(_ranges(",".join(fields)))
    if ranges and not any(_takes(ranges, each) for each in (SCIM, JSON)):
        raise NotAcceptable(
            f"Answers are {SCIM}, which Accept excludes: accept that, {JSON}, or no type in particular."
        )


def _ranges(accept: str) -> Iterator[tuple[str, bool]]:
    """Each media range, and whether it is accepted: what has a quality of zero is not."""
    for each in accept.lower().split(","):
        type_, *parameters = (part.strip() for part in each.split(";"))
        if type_:
            yield type_, not any(_ZERO.fullmatch(one) for one in parameters)


def _takes(ranges: dict[str, bool], media_type: str) -> bool:
    """The most specific range decides."""
    return next((ranges[each] for each in (media_type, "application/*", "*/*") if each in ranges), False)
