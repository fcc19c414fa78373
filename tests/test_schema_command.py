"""The command line for a tenant's own schemas."""

import asyncio
import json
from pathlib import Path

from engine import extensions
from engine.settings import Extension
from engine.tenant import AddSchema, RemoveSchema
from ops import administration
from ops.database import Database
from tests.conftest import Directory
from tests.test_cli import Shell
from tests.test_extensions import DOCUMENT, URN


def test_a_schema_is_added_listed_and_removed_and_a_wrong_one_refused_in_a_line(
    database: Database, tmp_path: Path
) -> None:
    shell, file = Shell(database.owner_url), tmp_path / "contoso.json"
    file.write_text(json.dumps(DOCUMENT))
    shell.output("tenant", "create", "contoso")

    shell.output("schema", "add", str(file), "--tenant", "contoso")
    listed = shell.output("schema", "list", "--tenant", "contoso")
    again = shell.trouble("schema", "add", str(file), "--tenant", "contoso")
    shell.output("schema", "remove", URN, "--tenant", "contoso")
    file.write_text("{")
    broken = shell.trouble("schema", "add", str(file), "--tenant", "contoso")

    assert URN in listed
    assert "is taken" in again
    assert "is not JSON" in broken
    assert URN not in shell.output("schema", "list", "--tenant", "contoso")


async def test_of_schemas_that_are_added_at_the_same_moment_none_is_lost(directory: Directory) -> None:
    def adding(number: int) -> AddSchema:
        document = {"id": f"urn:example:one{number}:2.0:User", "attributes": [{"name": "a"}]}
        return AddSchema(Extension(extensions.read(document)))

    cause, engine = administration.cause(directory.tenant_id), directory.services.engine
    await asyncio.gather(*(engine.administer(adding(number), cause) for number in range(4)))
    removing = (RemoveSchema(f"urn:example:one{number}:2.0:User") for number in (0, 1))
    await asyncio.gather(engine.administer(adding(4), cause), *(engine.administer(each, cause) for each in removing))

    directory.services.gate.forget()
    listed = (await directory.request("GET", "/scim/v2/ResourceTypes/User")).json()["schemaExtensions"]
    assert {each["schema"] for each in listed if "example" in each["schema"]} == {
        f"urn:example:one{number}:2.0:User" for number in (2, 3, 4)
    }
