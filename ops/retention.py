"""`rollbook prune`, and the same by itself once an hour: how long the request log is kept."""

import asyncio
import os
import re
from collections.abc import Sequence
from typing import NoReturn

import asyncpg
import structlog

from ops.trouble import Trouble
from projections.request_log import RequestLog
from projections.retention import DAYS, Prune, PrunedDay, RequestLogInUseError, prunable, prune

MOST_DAYS = 3_650
EVERY = 3_600.0  # seconds
AGAIN = 60.0  # seconds, if the database is away, or somebody in the way

_DAYS = "ROLLBOOK_REQUEST_LOG_DAYS"

_log = structlog.get_logger("rollbook")


def request_log_days() -> int:
    """For how many days requests are kept. Raises Trouble if the setting is none."""
    text = os.environ.get(_DAYS) or str(DAYS)
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= MOST_DAYS:
        raise Trouble(f"ROLLBOOK_REQUEST_LOG_DAYS takes a whole number from 1 to {MOST_DAYS:,}; it is {text!r}.")
    return int(text)


async def keep_pruning(pool: asyncpg.Pool, owner_url: str, keep_days: int) -> NoReturn:
    """Make the days to come, and drop those that are too old, until cancelled."""
    while True:
        try:
            await RequestLog(pool).prepare()
            pruned = await prune(owner_url, Prune(keep_days, "engine", "retention"))
        except Exception as error:  # noqa: BLE001  tried again; those who follow go on
            _log.warning("the request log was not pruned", error=type(error).__name__)
            await asyncio.sleep(AGAIN)
            continue
        for each in pruned:
            _log.info("a day of the request log was pruned", day=str(each.day), requests=each.requests)
        await asyncio.sleep(EVERY)


def prune_now(owner_url: str, keep_days: int, *, dry_run: bool) -> Sequence[PrunedDay]:
    """Drop the days that are too old, or only tell which. Raises Trouble if somebody is in the way."""
    if dry_run:
        return asyncio.run(prunable(owner_url, keep_days))
    try:
        return asyncio.run(prune(owner_url, Prune(keep_days, "operator", f"uid:{os.getuid()}")))
    except RequestLogInUseError as error:
        raise Trouble(str(error)) from None


def table_of(pruned: Sequence[PrunedDay]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    return ["day (UTC)", "requests"], [[str(each.day), f"{each.requests:,}"] for each in pruned]
