"""When Entra tries again: the schedules of escrow and quarantine, and what puts a job into quarantine."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from ops.entra_retries import ESCROW, QUARANTINE, Escrow, next_attempt, too_many_failures

START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)


def test_escrow_is_left_after_40_minutes_then_6_12_and_24_hours_then_daily_for_28_days() -> None:
    escrow, now, waits = Escrow(), START, []
    for _ in range(40):
        escrow.failed("ada", now)
        moment = next_attempt(START, now, ESCROW)
        if moment is None:
            break
        assert escrow.due(moment - timedelta(seconds=1)) == []
        assert escrow.due(moment) == ["ada"]
        waits.append(moment - START)
        now = moment

    assert waits[:5] == [timedelta(minutes=40), *(timedelta(hours=hours) for hours in (6, 12, 24, 48))]
    assert waits[-1] == timedelta(days=28)
    assert escrow.due(START + timedelta(days=400)) == []


def test_next_quarantine_attempts_thin_out_to_once_a_day() -> None:
    after = partial(next_attempt, START, schedule=QUARANTINE)

    assert after(now=START) == START + timedelta(hours=6)
    assert after(now=START + timedelta(hours=12)) == START + timedelta(days=1)
    assert after(now=START + timedelta(days=27)) == START + timedelta(days=28)
    assert after(now=START + timedelta(days=28)) is None


@pytest.mark.parametrize(
    ("processed", "failed", "references", "expected"),
    [
        (4_999, 4_999, 0, False),
        (10_000, 5_000, 0, True),
        (20_000, 8_000, 0, False),
        (20_000, 8_001, 0, True),
        (1_000_000, 40_001, 0, True),
        (1_000_000, 0, 59_999, False),
        (1_000_000, 10_000, 50_000, True),
    ],
)
def test_only_many_failures_quarantine_a_job(processed: int, failed: int, references: int, expected: bool) -> None:
    assert too_many_failures(processed, failed, references) is expected
