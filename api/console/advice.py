"""What to do about a refusal or a token that ends, in plain words."""

from datetime import datetime, timedelta

from msgspec import Struct

# By the reason that the request log has: a refusal's scimType, or else its kind.
_TO_DO = {
    "uniqueness": "Two people in the directory have the same userName or microsoftId. Correct one of them there.",
    "invalidValue": "A value is not accepted. Open one of the people: the refused write says which, and what would be.",
    "invalidSyntax": "The request was not understood. If it comes from Entra, tell us; if from a script, correct it.",
    "invalidFilter": "The matching attribute is asked for in a way that is not understood. Check the mapping.",
    "invalidPath": "A mapping has a target that there is not. Compare the mapping with the table of the set-up page.",
    "noTarget": "A mapping changes something that the person does not have. Compare the mapping with the set-up page.",
    "mutability": "A mapping writes something that cannot be written, such as id. Take it out of the mapping.",
    "NotFound": "The directory writes to somebody who is not here any more. Its next full cycle creates them again.",
    "NotAuthenticated": "The token opens nothing any more. Issue a new one, and paste it as the Secret Token.",
    "Forbidden": "The token lacks the scope scim. Issue another one with it, and paste it as the Secret Token.",
    "SeatLimitReached": "All seats are taken. Free some, or have the limit raised.",
    "PreconditionFailed": "Somebody else was faster; the directory tries again by itself.",
    "NotImplementedHere": "It sends what is not offered, or groups while they are off. Take its mapping away.",
    "Busy": "The service could not answer in time; the directory tries again by itself. See the page of operations.",
}


class Expiry(Struct, frozen=True):
    """When a token ends, as a warning: `level` is the class of a badge."""

    level: str
    text: str


def on_refusal(reason: str) -> str:
    return _TO_DO.get(reason, "Open one of the people: the refused write says what was wrong and what would be right.")


def on_expiry(expires_at: datetime | None, now: datetime) -> Expiry | None:
    """A warning 30, 7 and 1 days ahead; None if it is longer."""
    if expires_at is None:
        return None
    left = expires_at - now
    if left <= timedelta():
        return Expiry("bad", "expired")
    if left <= timedelta(days=1):
        return Expiry("bad", "expires within a day")
    if left <= timedelta(days=7):
        return Expiry("bad", f"expires in {left.days} days")
    if left <= timedelta(days=30):
        return Expiry("warn", f"expires in {left.days} days")
    return None
