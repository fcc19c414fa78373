"""When to warn that a token ends."""

from datetime import datetime, timedelta

WARNED_BEFORE = (1, 7, 30)  # days


def days_left(expires_at: datetime, now: datetime) -> int | None:
    """The least of the days of a warning within which it expires: 30, 7 or 1; 0 if it has expired; None if there is
    more time than that."""
    if expires_at <= now:
        return 0
    return next((days for days in WARNED_BEFORE if expires_at - now <= timedelta(days=days)), None)
