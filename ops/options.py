"""Options that many commands have."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar="ROLLBOOK_DATA",
        metavar="DIR",
        help="The folder of the embedded Postgres. Not used if ROLLBOOK_DATABASE_URL names another PostgreSQL.",
    ),
]
TenantName = Annotated[str, typer.Option("--tenant", metavar="NAME", help="The tenant's name.")]
