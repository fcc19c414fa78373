"""`rollbook token`: secret tokens of a tenant."""

import re
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer

from api import tokens
from api.services import Services
from api.tokens import Issued
from engine.expiry import days_left
from engine.tenant import RevokeToken
from engine.tokens import OWN
from ops import administration
from ops.options import Data, TenantName
from ops.serve import DATA
from ops.store import with_services
from ops.tables import show_table
from ops.trouble import Trouble
from projections.tenants import TokenListed

app = typer.Typer(help="Secret tokens of a tenant.", no_args_is_help=True, rich_markup_mode=None)

TokenId = Annotated[UUID, typer.Argument(help="The token's id, from: rollbook token list")]
ExpiresIn = Annotated[str, typer.Option(metavar="TIME", help="How long it is valid: 365d, 12h, 30m.")]

_LIFE = re.compile(r"([1-9]\d{0,5})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.command("issue")
def issue_token(  # noqa: PLR0913, PLR0917  options
    tenant: TenantName,
    name: Annotated[str, typer.Option(metavar="TEXT", help="What it is for; shown in lists.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it opens, repeatable: scim (the default), people:read, people:write, audit:read, admin."
        ),
    ] = None,
    user: Annotated[
        UUID | None, typer.Option(metavar="ID", help="Whose own token it is: it opens /Me, and nothing else.")
    ] = None,
    expires_in: ExpiresIn = "365d",
    data: Data = DATA,
) -> None:
    """Issue a token and print it, alone, this once. It cannot be shown again."""
    expires_at = datetime.now(UTC) + _life(expires_in)
    scopes = tuple(scope or [OWN if user else "scim"])

    async def work(services: Services) -> str:
        tenant_id = await administration.existing_tenant_id(services, tenant)
        return await administration.issue_token(services, tenant_id, name, scopes, expires_at, user)

    typer.echo(with_services(data, work))


def _life(text: str) -> timedelta:
    match = _LIFE.fullmatch(text.strip().lower())
    life = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta()
    if not timedelta() < life <= tokens.LONGEST_LIFE:
        raise Trouble(f"--expires-in takes a time of up to ten years such as 365d, 12h or 30m, not {text!r}.")
    return life


@app.command("rotate")
def rotate_token(tenant: TenantName, token_id: TokenId, expires_in: ExpiresIn = "365d", data: Data = DATA) -> None:
    """Issue a token of the same name and scopes beside an old one, and print it, alone, this once. Both are valid."""
    expires_at = datetime.now(UTC) + _life(expires_in)

    async def work(services: Services) -> Issued:
        tenant_id = await administration.existing_tenant_id(services, tenant)
        return await tokens.issue_successor(services, administration.cause(tenant_id), token_id, expires_at)

    issued = with_services(data, work)
    typer.echo(issued.text)
    typer.echo(_next_steps(tenant, token_id, issued), err=True)


def _next_steps(tenant: str, old: UUID, issued: Issued) -> str:
    name = shlex.quote(tenant)
    return (
        f"The new token has the id {issued.id}; the old one still works. In Entra: Provisioning, Admin Credentials, "
        f"paste it as the Secret Token, Test Connection, Save.\n"
        f"When `rollbook token list --tenant {name}` shows that the new one is used, and the old one no longer:\n"
        f"rollbook token revoke --tenant {name} {old}"
    )


@app.command("list")
def list_tokens(tenant: TenantName, data: Data = DATA) -> None:
    """List a tenant's tokens: when issued, last used, expired, revoked; and warn of those that are about to expire."""

    async def work(services: Services) -> Sequence[TokenListed]:
        return await services.tenants.tokens(await administration.existing_tenant_id(services, tenant))

    found = with_services(data, work)
    show_table(
        ["id", "name", "scopes", "issued (UTC)", "last used", "expires", "revoked"], [_row(each) for each in found]
    )
    for line in warnings(found, tenant, datetime.now(UTC)):
        typer.echo(line, err=True)


def _row(token: TokenListed) -> list[str]:
    times = (token.issued_at, token.used_at, token.expires_at, token.revoked_at)
    return [str(token.id), token.name, ",".join(token.scopes), *map(_moment, times)]


def warnings(found: Sequence[TokenListed], tenant: str, now: datetime) -> Iterator[str]:
    """A line for each token that expires within 30, 7 or 1 days, or has expired, unless it was revoked."""
    for each in found:
        days = days_left(each.expires_at, now) if each.revoked_at is None else None
        if days is not None:
            used = "never used" if each.used_at is None else f"last used {_moment(each.used_at)}"
            yield (
                f"{each.name} {_ends(days)} ({_moment(each.expires_at)} UTC), {used}. Put a new one beside it: "
                f"rollbook token rotate --tenant {shlex.quote(tenant)} {each.id}"
            )


def _ends(days: int) -> str:
    if days == 0:
        return "has expired"
    return f"expires within {days} day{'s' * (days != 1)}"


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "-"


@app.command("revoke")
def revoke_token(
    token_id: TokenId,
    tenant: TenantName,
    data: Data = DATA,
) -> None:
    """End a token now; every worker refuses it within 5 seconds."""

    async def work(services: Services) -> None:
        tenant_id = await administration.existing_tenant_id(services, tenant)
        await services.engine.administer(RevokeToken(token_id), administration.cause(tenant_id))

    with_services(data, work)
    typer.echo(f"Revoked {token_id}.")
