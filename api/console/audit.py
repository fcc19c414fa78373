"""The pages of the audit: the log, one event, local edits, changes between two moments, and every other question."""

from datetime import datetime
from typing import Any, Literal, get_args, get_origin
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from api import parameters
from api.call import call_of
from api.console import html, words
from api.console.asking import Answer, ask, names
from api.console.visit import Visit, for_role
from api.event_questions import EVENTS
from api.export import FORMATS
from api.inquiry import inquire
from api.parameters import Parameter
from api.questions import QUESTIONS
from api.v1_audit import file
from api.v1_types import EventShown
from engine.events import TYPES
from engine.refusals import BadRequest, NotFound
from engine.streams import SOURCES
from projections.question import Question
from projections.questions.attributes import LOCAL_EDITS, Fate
from projections.questions.changes import CHANGES

_BY_NAME = {each.name: each for each in QUESTIONS}
LONGEST_SHOWN = 20_000  # characters of an event's data
# Those that are about one person stand on that person's page.
ASKED_HERE = {each.name: each for each in QUESTIONS if "{" not in each.address and each is not EVENTS}


@for_role("auditor")
async def show_events(visit: Visit) -> Response:
    """The log, newest first."""
    answer = await ask(visit, EVENTS)
    return visit.page(
        "audit.html",
        answer.status,
        answer=answer,
        names=await names(visit, answer.rows),
        words=words,
        types=TYPES,
        sources=SOURCES,
        formats=FORMATS,
        export=_export(visit, EVENTS),
        # With filters, each look would be noted, and be new to the next one.
        may_follow=not visit.query,
    )


@for_role("auditor")
async def show_tail(visit: Visit) -> Response:
    """What came behind an event, newest first, as rows for the page that follows the log."""
    answer = await ask(visit, EVENTS, {"after": visit.query.get("after", ""), "order": "asc"}, limit=200)
    rows = list(reversed(answer.rows))
    return visit.page("audit-tail.html", answer.status, rows=rows, names=await names(visit, rows), words=words)


@for_role("auditor")
async def show_event(visit: Visit) -> Response:
    """One event, with the values before and after side by side, and as it stands in the log."""
    text = visit.request.path_params["seq"]
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:20]) < 2**62):
        raise NotFound("Events have whole numbers, from 1 on.")
    seq = int(text)
    answer = await ask(visit, EVENTS, {"after": str(seq - 1), "order": "asc"}, limit=2)
    if not answer.rows or answer.rows[0].seq != seq:
        raise NotFound(f"There is no event {seq} yet: the log ends before it.")
    event: EventShown = answer.rows[0]
    return visit.page(
        "audit-event.html",
        event=event,
        data=_written(event.data),
        is_last=len(answer.rows) == 1,
        names=await names(visit, [event]),
        words=words,
    )


def _written(data: Any) -> str:
    """An event's data, a line for each member; the beginning of what is very long."""
    if data is None:
        return ""
    text = msgspec.json.format(bytes(data), indent=2).decode()
    left_out = len(text) - LONGEST_SHOWN
    return f"{text[:LONGEST_SHOWN]}\n… and {left_out:,} more characters" if left_out > 0 else text


@for_role("auditor")
async def show_local_edits(visit: Visit) -> Response:
    """What people changed here, and what became of it."""
    answer = await ask(visit, LOCAL_EDITS)
    return visit.page(
        "audit-edits.html",
        answer.status,
        answer=answer,
        names=await names(visit, answer.rows),
        words=words,
        fates=get_args(Fate),
        export=_export(visit, LOCAL_EDITS),
        formats=FORMATS,
    )


@for_role("auditor")
async def show_changes(visit: Visit) -> Response:
    """Who differs between two moments, and in what."""
    is_asked = bool(visit.query.keys() - {"done"})
    answer = await ask(visit, CHANGES) if is_asked else Answer([])
    return visit.page(
        "audit-changes.html",
        answer.status,
        answer=answer,
        is_asked=is_asked,
        words=words,
        export=_export(visit, CHANGES),
        formats=FORMATS,
    )


@for_role("auditor")
async def show_questions(visit: Visit) -> Response:
    """All questions that can be asked."""
    return visit.page("audit-questions.html", questions=ASKED_HERE.values())


@for_role("auditor")
async def show_question(visit: Visit) -> Response:
    """Any question: a form of its parameters, and its answer as a table."""
    question = ASKED_HERE.get(visit.request.path_params["name"])
    if question is None:
        raise NotFound("There is no such question. The page of questions lists those that there are.")
    taken = parameters.parameters(question.asked)
    missing = [each.name for each in taken if each.is_required and each.name not in visit.query]
    answer = Answer([]) if missing else await ask(visit, question)
    return visit.page(
        "audit-question.html",
        answer.status,
        question=question,
        is_asked=not missing,
        fields=[(each, _kind(each), _choices(each)) for each in taken if each.name not in {"after", "before"}],
        answer=answer,
        columns=[each.encode_name for each in msgspec.structs.fields(question.row)],
        rows=[msgspec.structs.astuple(each) for each in answer.rows],
        names=await names(visit, answer.rows),
        export=_export(visit, question),
        formats=FORMATS,
    )


@for_role("auditor")
async def take_file(visit: Visit) -> Response:
    """The whole answer to a question as a file; what is taken is noted."""
    question = _BY_NAME.get(visit.request.path_params["name"])
    if question is None:
        raise NotFound("There is no such question. The page of questions lists those that there are.")
    given = {name: text for name, text in visit.query.items() if name != "after"}
    format_ = given.pop("format", "")
    if format_ not in FORMATS:
        raise BadRequest(f"format takes one of {', '.join(FORMATS)}.")
    asked = parameters.read(question.asked, given)
    inquiry = await inquire(visit.services.pool, visit.tenant_id, question, asked)
    return html.guarded(await file(inquiry, format_, visit.services.accesses, call_of(visit.request)))


def _export(visit: Visit, question: Question[Any, Any]) -> str:
    """The address of the whole answer as a file, to which `format=` is still to be added."""
    query = {name: value for name, value in visit.query.items() if name not in {"after", "before", "done"}}
    return f"/console/audit/files/{question.name}?{urlencode({**query, 'format': ''})}"


def _kind(parameter: Parameter) -> str:
    """Which sort of field a parameter has."""
    kind = parameters.bare(parameter.kind)
    if kind is datetime:
        return "date"
    return "number" if kind is int else "text"


def _choices(parameter: Parameter) -> list[tuple[str, str]]:
    """What a parameter can be, as pairs of value and text; nothing for one that takes more than these."""
    kind = parameters.bare(parameter.kind)
    if parameter.is_list:
        return []
    choices = ("true", "false") if kind is bool else get_args(kind) if get_origin(kind) is Literal else ()
    return [("", "Any"), *((each, each) for each in choices)] if choices else []
