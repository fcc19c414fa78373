"""What to do about a refusal, a mistake of the set-up or a token that ends, in plain words."""

from datetime import datetime

from msgspec import Struct

from engine.expiry import WARNED_BEFORE, days_left
from projections.setup_mistakes import Code

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
    "BearerTwice": "The word Bearer was pasted with the token. Paste the token alone: it begins with rb_.",
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


def on_refusal(reason: str) -> str:
    return _TO_DO.get(reason, "Open one of the people: the refused write says what was wrong and what would be right.")


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
