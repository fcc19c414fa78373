"""The page of seats: its months."""

import re
from datetime import UTC, datetime

from projections.follower import FOLLOWERS
from projections.following import Following
from tests.conftest import Directory
from tests.visitors import visitor


async def test_months_before_the_first_seat_are_not_listed(directory: Directory) -> None:
    await directory.create("ann")
    await Following(directory.services.pool, FOLLOWERS).catch_up()

    page = (await (await visitor(directory, "audit:read")).get("/console/seats")).text

    rows = re.findall(r"<tr><td>(\w+ \d{4})</td><td class=\"num\">(\d+)</td>", page)
    assert rows == [(f"{datetime.now(UTC):%B %Y}", "1")]
