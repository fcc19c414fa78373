"""`/metrics`: what Prometheus reads, and who else may."""

import asyncio
import hmac
from ipaddress import IPv6Address, ip_address

from starlette.requests import Request
from starlette.responses import Response

from api.services import services_of
from engine.refusals import Forbidden, NotAuthenticated

TEXT = "text/plain; version=0.0.4; charset=utf-8"


async def metrics(request: Request) -> Response:
    """The metrics of all processes, as text. Raises Forbidden or NotAuthenticated."""
    services = services_of(request)
    _admit(request, services.metrics_token)
    services.metrics.measure(services.pool)
    of_the_store = await services.store_metrics.collect()
    text = await asyncio.to_thread(services.metrics.text, of_the_store)  # it may take as long as many requests
    return Response(text, media_type=TEXT)


def _admit(request: Request, token: str | None) -> None:
    if _is_from_here(request):
        return
    if token is None:
        raise Forbidden(
            "Metrics are for clients on this machine alone, which ask the service itself. To let others in, start it "
            "with a secret of your choice in ROLLBOOK_METRICS_TOKEN, and have them send the header Authorization: "
            "Bearer with that secret."
        )
    sent = request.headers.get("authorization", "")
    scheme, _, secret = sent.strip().partition(" ")
    # Starlette reads headers as Latin-1, so this gives back the bytes that came.
    is_right = hmac.compare_digest(secret.strip().encode("latin-1"), token.encode())
    if scheme.lower() != "bearer" or not is_right:
        raise NotAuthenticated(
            "Metrics need the header Authorization: Bearer, with the value of ROLLBOOK_METRICS_TOKEN. Tokens of "
            "tenants do not open them."
        )


def _is_from_here(request: Request) -> bool:
    """Whether the client itself is on this machine, and not only a proxy through which somebody else asks."""
    if request.client is None or any(map(_is_a_proxys, request.headers)):
        return False
    return _is_loopback(request.client.host)


def _is_a_proxys(header: str) -> bool:
    return header.startswith("x-forwarded-") or header in {"forwarded", "x-real-ip", "via"}


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
