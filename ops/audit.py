"""Answers an audit question on the command line: on standard output, or as a file with its manifest."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import msgspec

from api import parameters
from api.composition import open_services
from api.export import FORMATS, Format
from api.inquiry import Export, inquire
from api.manifest import manifest
from api.services import Services
from engine.log import Selection
from engine.store import Cause
from ops import administration
from ops.database import open_database
from ops.files import new_file
from ops.progress import Report, progress
from ops.trouble import Trouble
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.question import Question

AnyQuestion = Question[Any, Any]


def answer(  # noqa: PLR0913, PLR0917  what an auditor can choose
    question: AnyQuestion, texts: Mapping[str, str], tenant: str, out: Path | None, form: str | None, data: Path
) -> None:
    """Answer a question of a tenant; what it takes comes as text. Raises Trouble for what cannot be."""
    format_ = _format(out, form)

    async def run(service_url: str) -> None:
        async with open_services(service_url, connections=2) as services:
            tenant_id = await administration.existing_tenant_id(services, tenant)
            export = await _export(services, question, texts, tenant_id, format_)
            if out is None:
                await _write(services, export, tenant_id, sys.stdout.buffer, _nobody_watches)
                return
            with progress(question.name, "rows") as report, new_file(out) as file:
                written = await _write(services, export, tenant_id, file, report)
            with new_file(out.with_name(f"{out.name}.manifest.json")) as file:
                file.write(written)

    with open_database(data) as database:
        asyncio.run(run(database.service_url))
    if out is not None:
        sys.stderr.write(f"{out}, and {out.name}.manifest.json beside it.\n")


async def _export(
    services: Services, question: AnyQuestion, texts: Mapping[str, str], tenant_id: UUID, format_: Format
) -> Export:
    asked = parameters.read(question.asked, texts)
    # Perhaps no service runs, and nobody else follows.
    await Following(services.pool, [each for each in FOLLOWERS if each.name in question.followers]).catch_up()
    return Export(await inquire(services.pool, tenant_id, question, asked), format_)


async def _write(services: Services, export: Export, tenant_id: UUID, file: BinaryIO, report: Report) -> bytes:
    """Write the answer and note it in the log; the manifest."""
    cause = administration.cause(tenant_id)
    try:
        async for piece in export.pieces():
            file.write(piece)
            file.flush()
            report(export.rows, None)
    finally:
        await services.engine.note(export.exported(), cause)
    return await _manifest(services, cause)


async def _manifest(services: Services, cause: Cause) -> bytes:
    selection = Selection(types=("EvidenceExported",), request_id=cause.request_id)
    [noted] = await services.log.read(cause.tenant_id, selection, 1)
    return msgspec.json.format(msgspec.json.encode(manifest(cause.tenant_id, noted))) + b"\n"


def _format(out: Path | None, form: str | None) -> Format:
    if out is not None and form is not None:
        raise Trouble("--out chooses the format by the file's name; --format is for standard output.")
    wanted = out.suffix.lower().removeprefix(".") if out else form or "ndjson"
    for each in FORMATS:
        if each == wanted:
            return each
    if out is not None:
        raise Trouble(f"--out takes a file whose name ends in .{', .'.join(FORMATS)}, not {str(out)!r}.")
    raise Trouble(f"--format takes one of {', '.join(FORMATS)}, not {form!r}.")


def _nobody_watches(done: int, total: int | None) -> None:
    """Rows that go to standard output show by themselves how far it is."""
