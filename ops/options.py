"""Options that many commands take."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar="ROLLBOOK_DATA",
        metavar="DIR",
        help="The folder of the embedded Postgres and of the ledger's key. If ROLLBOOK_DATABASE_URL names another "
        "PostgreSQL, it holds the key alone.",
    ),
]
TenantName = Annotated[str, typer.Option("--tenant", metavar="NAME", help="The tenant's name.")]
