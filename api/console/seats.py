"""The page of seats: used and free, by role, over time, and who took and freed them."""

from datetime import UTC, datetime, timedelta
from itertools import dropwhile, pairwise
from typing import Literal

from msgspec import Struct
from starlette.responses import Response

from api import parameters
from api.console import words
from api.console.asking import ask, names
from api.console.plot import plot
from api.console.visit import Visit, for_role
from api.export import FORMATS
from engine.refusals import BadRequest
from projections.questions.seats_taken import SEAT_CHANGES
from projections.seat_curve import Peak, SeatCurve
from projections.seats_over_time import SeatSpan, points_of, seats_over_time

MONTHS = 13  # of peaks that are shown
LATEST = 30  # changes that are shown


class Filters(Struct, frozen=True, kw_only=True):
    """What the address of the page takes."""

    days: Literal["1", "7", "30", "90", "365"] = "30"


@for_role("auditor")
async def show(visit: Visit) -> Response:
    filters, wrong = Filters(), ""
    try:
        filters = parameters.read(Filters, {name: text for name, text in visit.query.items() if name == "days"})
    except BadRequest as refusal:
        wrong = refusal.detail
    services, now = visit.services, datetime.now(UTC)
    counts = await services.seats.counts(visit.tenant_id)
    since = now - timedelta(days=int(filters.days))
    spans = await seats_over_time(services.pool, visit.tenant_id, since, now)
    curve = SeatCurve(services.pool)
    behind = await curve.seq_before_latest(visit.tenant_id, LATEST)
    taken = await ask(visit, SEAT_CHANGES, {"after_seq": str(behind)})
    first_month = (now - timedelta(days=31 * (MONTHS - 1))).date()
    months = await curve.peaks_by_month(visit.tenant_id, first_month, now.date()) if taken.rows else []
    return visit.page(
        "seats.html",
        400 if wrong else 200,
        wrong=wrong,
        filters=filters,
        counts=counts,
        plot=plot(points_of(spans, now), counts.limit, since=since, until=now),
        spans=[each for before, each in pairwise([None, *spans]) if each and _is_news(before, each)],
        months=list(reversed(_since_the_first_seat(months))),
        taken=list(reversed(taken.rows)),
        names=await names(visit, taken.rows),
        words=words,
        formats=FORMATS,
    )


def _since_the_first_seat(months: list[Peak]) -> list[Peak]:
    return list(dropwhile(lambda each: not each.peak, months))


def _is_news(before: SeatSpan | None, span: SeatSpan) -> bool:
    """Whether a row of the table says more than the one above it."""
    return before is None or (span.peak, span.last) != (before.last, before.last)
