"""What to do about a refusal, a mistake of the set-up or a token that ends, in plain words."""

from datetime import datetime

from msgspec import Struct

from engine.expiry import WARNED_BEFORE, days_left
from projections.setup_mistakes import Code


class Refused(Struct, frozen=True):
    """What a kind of refusals is called, and what to do about it."""

    title: str
    to_do: str


# By the reason that the request log has: a refusal's scimType, or else its kind.
_REFUSED = {
    "uniqueness": Refused(
        "Taken by somebody else",
        "Two people in the directory have the same userName or microsoftId. Correct one of them there.",
    ),
    "invalidValue": Refused(
        "A value is not accepted", "The refused write says which value, and what would be right. Correct it there."
    ),
    "invalidSyntax": Refused(
        "Not understood", "If it comes from Entra, tell whoever runs Rollbook; if from a script, correct the script."
    ),
    "invalidFilter": Refused(
        "A search is not understood", "Compare the matching attribute in the mapping with the set-up page."
    ),
    "invalidPath": Refused(
        "There is no such attribute", "Compare the targets in the mapping with the table of the set-up page."
    ),
    "noTarget": Refused(
        "Nothing there to change", "A mapping changes what the person does not have. Compare it with the set-up page."
    ),
    "mutability": Refused(
        "Not to be written",
        "A mapping writes something that cannot be written, such as id. Take it out of the mapping.",
    ),
    **dict.fromkeys(
        ("invalidCursor", "expiredCursor", "invalidCount"),
        Refused("A page of a list is not to be had", "The client begins its list anew, as RFC 9865 says."),
    ),
    "NotFound": Refused(
        "Not here any more", "The directory writes to somebody who is gone. Its next full cycle creates them again."
    ),
    "NotAuthenticated": Refused(
        "The token opens nothing", "Issue a new token, and paste it in Entra as the Secret Token."
    ),
    "BearerTwice": Refused(
        "The word Bearer was pasted, too", "In Entra, paste the secret token alone: it begins with rb_."
    ),
    "Forbidden": Refused(
        "The token lacks a scope", "Issue another token with the scope scim, and paste it as the Secret Token."
    ),
    "SeatLimitReached": Refused("All seats are taken", "Free some, or have the limit raised."),
    "PreconditionFailed": Refused("Somebody else was faster", "Nothing: the directory tries again by itself."),
    "NotImplementedHere": Refused(
        "Not offered", "The directory sends groups while they are off, or what is not offered. Take its mapping away."
    ),
    "Busy": Refused("Too slow", "The directory tries again by itself. See the page of operations if it goes on."),
}
_ASTRAY = Refused("An address where nothing is", "In Entra, paste the Tenant URL as the set-up page has it.")
_OTHER = "The refused write says what was wrong, and what would be right."


class Expiry(Struct, frozen=True):
    """When a token ends, as a warning: `level` is the class of a badge."""

    level: str
    text: str


class Advice(Struct, frozen=True):
    """What a mistake is called, what it does, and what to do, with the clicks in Entra."""

    title: str
    effect: str
    to_do: str


_MAPPINGS = "In Entra: Enterprise applications, your app, Provisioning, Mappings, Provision Microsoft Entra ID Users."

_MISTAKES: dict[Code, Advice] = {
    "no_role_mapped": Advice(
        "No role arrives",
        "Everybody gets the least powerful role, for the directory sends none.",
        f"{_MAPPINGS} Add the row of the table below whose target ends in :role, and assign people with an app role.",
    ),
    "active_not_mapped": Advice(
        "active is not mapped",
        "Whoever loses access in the directory stays active here, and keeps the seat.",
        f"{_MAPPINGS} Add the rows of the table below for active.",
    ),
    "upper_case_address": Advice(
        "Addresses with upper case are refused",
        "These people are not provisioned until their addresses are lower case.",
        f"{_MAPPINGS} Make the source of userName the expression ToLower([userPrincipalName]), and that of an address "
        "ToLower([mail]). Or let this tenant keep the case: rollbook tenant set NAME --email-case keep",
    ),
    "role_unknown": Advice(
        "A role is misspelt",
        "The write is refused, and the person keeps the role of before.",
        "In Entra: App registrations, your app, App roles. Correct the display name and the value of the role; the "
        "names that are allowed stand below.",
    ),
    "groups_mapped": Advice(
        "The mapping of groups is still on",
        "The directory sends groups that this tenant does not take, and each one is an error in its log.",
        "In Entra: Enterprise applications, your app, Provisioning, Mappings, Provision Microsoft Entra ID Groups: set "
        "Enabled to No. Or take groups: rollbook tenant set NAME --groups on",
    ),
    "wrong_matching_attribute": Advice(
        "People who are here are created again",
        "The directory does not find them by what it matches with, and its creation collides each time.",
        f"{_MAPPINGS} Set objectId to match with precedence 1, and userPrincipalName with precedence 2, as in the "
        "table below.",
    ),
    "address_without_scim": Advice(
        "The Tenant URL is not right",
        "The directory calls at an address where there is nothing.",
        "In Entra: Enterprise applications, your app, Provisioning, Admin Credentials: paste the Tenant URL that "
        "stands above, with /scim/v2 at its end.",
    ),
    "bearer_twice": Advice(
        "The word Bearer was pasted with the token",
        "Every call is refused.",
        "In Entra: Enterprise applications, your app, Provisioning, Admin Credentials: paste the secret token alone. "
        "It begins with rb_.",
    ),
    "token_ended": Advice(
        "The directory calls with a token that has ended",
        "Every call is refused, and Entra will put the provisioning into quarantine.",
        "Issue a new token, and paste it in Entra as the Secret Token; then Test Connection.",
    ),
    "token_ends_soon": Advice(
        "The token ends soon",
        "From then on every call is refused.",
        "Rotate it: a new one works beside the old one until you have pasted it in Entra.",
    ),
}


def on_refusal(reason: str, route: str) -> Refused:
    if reason == "NotFound" and route == "unknown":
        return _ASTRAY
    return _REFUSED.get(reason) or Refused(reason, _OTHER)


def on_mistake(code: Code) -> Advice:
    return _MISTAKES[code]


def on_expiry(expires_at: datetime | None, now: datetime) -> Expiry | None:
    """A warning 30, 7 and 1 days ahead; None if it is longer."""
    days = days_left(expires_at, now) if expires_at else None
    if expires_at is None or days is None:
        return None
    if days == 0:
        return Expiry("bad", "expired")
    if days == 1:
        return Expiry("bad", "expires within a day")
    return Expiry("warn" if days == WARNED_BEFORE[-1] else "bad", f"expires in {(expires_at - now).days} days")
