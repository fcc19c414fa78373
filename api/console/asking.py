"""Asks an audit question for a page of the console, by the page's own filters."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from api import parameters
from api.console.visit import Visit
from api.event_questions import is_idle_poll
from api.inquiry import inquire
from api.v1_types import EventShown
from engine.refusals import BadRequest, NotFound
from projections.question import Question

A_PAGE = 50  # rows
OF_MEMBERS = {"MembersAdded", "MembersRemoved", "MemberAwaited", "MemberJoined"}  # events
FEW = 10  # members of a group that are named where an event is shown


@dataclass(frozen=True)
class Answer:
    """Rows of an answer; the address of those behind them, None at the end; and why there are none, if it was wrong."""

    rows: Sequence[Any]
    next: str | None = None
    first: str | None = None
    as_of_seq: int | None = None
    wrong: str = ""

    @property
    def status(self) -> int:
        return 400 if self.wrong else 200


async def ask(
    visit: Visit, question: Question[Any, Any], given: Mapping[str, str] | None = None, *, limit: int = A_PAGE
) -> Answer:
    """The page of the answer that the address asks for; looking at it is noted.

    `given` holds the parameters, those of the page's address unless it says otherwise. What cannot be asked is told in
    the answer, for a page with a form.
    """
    asked_for = dict(visit.query if given is None else given)
    asked_for.pop("done", None)
    after = None if "after" in question.asked.__struct_fields__ else asked_for.pop("after", None)
    try:
        asked = parameters.read(question.asked, asked_for)
        inquiry = await inquire(visit.services.pool, visit.tenant_id, question, asked)
        page = await inquiry.page(after, limit)
    except BadRequest as refusal:
        return Answer([], wrong=refusal.detail)
    except NotFound:  # that nobody is there is an answer, too
        visit.note(question.name, 0, asked_for)
        raise
    if not is_idle_poll(asked, page.rows):
        visit.services.accesses.note(inquiry.accessed(len(page.rows)), visit.cause)
    behind = inquiry.next_parameters(page)
    path = {name: value for name, value in (behind or {}).items() if name not in visit.request.path_params}
    return Answer(
        rows=page.rows,
        next=f"{visit.path}?{urlencode(path)}" if behind else None,
        first=visit.link(after=None, before=None, as_of_seq=None, to_seq=None) if _is_behind(visit) else None,
        as_of_seq=inquiry.settled.to_seq,
    )


def _is_behind(visit: Visit) -> bool:
    return bool({"after", "before"} & visit.query.keys())


@dataclass(frozen=True)
class Names:
    """What ids on a page are called: people by their userName, groups and tokens by the name that they were given."""

    people: Mapping[UUID, str]
    groups: Mapping[UUID, str]
    tokens: Mapping[str, str]

    def person(self, user_id: UUID) -> str:
        """The userName; the beginning of the id for one who is erased, or no person."""
        return self.people.get(user_id) or f"{str(user_id)[:8]}…"

    def members(self, shown: Sequence[str]) -> list[str]:
        """Some members of a group, and how many more there are."""
        found = [self._member(each) for each in shown[:FEW]]
        return [*found, f"and {len(shown) - FEW:,} more"] if len(shown) > FEW else found

    def _member(self, text: str) -> str:
        member_id = _id(text)
        return self.people.get(member_id) or self.groups.get(member_id) or text if member_id else text

    def actor(self, actor: str) -> str:
        """Who did something, as far as it is known here: a token by its name."""
        if actor in self.tokens:
            return f"token “{self.tokens[actor]}”"
        if actor.startswith("uid:"):
            return f"operator, account {actor[4:]}"
        return actor


async def names(visit: Visit, rows: Sequence[Any]) -> Names:
    """Of everybody who stands in the rows. Two statements, and one for ids that are nobody's."""
    ids = set(_ids_in(rows))
    people = await visit.services.users.names(visit.tenant_id, list(ids)) if ids else {}
    others = ids - people.keys()
    return Names(
        people=people,
        groups=await visit.services.groups.names(visit.tenant_id, list(others)) if others else {},
        tokens={str(each.id): each.name for each in await visit.services.tenants.tokens(visit.tenant_id)},
    )


def _ids_in(rows: Sequence[Any]) -> Iterator[UUID]:
    for row in rows:
        if found := getattr(row, "user_id", getattr(row, "id", None)):
            yield found
        if isinstance(row, EventShown) and row.type in OF_MEMBERS:
            for values in filter(None, (row.before, row.after)):
                yield from filter(None, map(_id, values["members"][:FEW]))


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
