"""The command line for a tenant's own schemas."""

import json
from pathlib import Path

from ops.database import Database
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
