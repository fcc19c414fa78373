"""`rollbook audit`: one command for each audit question, with an option for each of its parameters."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from api.parameters import Parameter, parameters
from api.questions import QUESTIONS
from ops.audit import answer
from ops.evidence_cli import evidence
from ops.options import Data, TenantName
from ops.serve import DATA
from projections.question import Question

app = typer.Typer(
    help="What happened, who was what and when, and who changed it.", no_args_is_help=True, rich_markup_mode=None
)

Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write a file, .ndjson, .csv or .json, and its manifest beside it."),
]
Form = Annotated[
    str | None, typer.Option("--format", metavar="ndjson|csv|json", help="The form on standard output; ndjson.")
]
_OURS = ("tenant", "out", "form", "data")


def _command(question: Question[Any, Any]) -> Callable[..., None]:
    """A function with the signature of which typer makes the command's options."""
    asked = {f"asked_{each.name}": each for each in parameters(question.asked)}

    def command(**given: Any) -> None:
        texts = {asked[name].name: text for name, text in given.items() if name in asked and text is not None}
        answer(question, texts, *(given[name] for name in _OURS))

    signature = inspect.Signature(
        [
            _option("tenant", TenantName),
            *(_option(name, _annotation(each), None) for name, each in asked.items() if not each.is_required),
            *(_option(name, _annotation(each)) for name, each in asked.items() if each.is_required),
            _option("out", Out, None),
            _option("form", Form, None),
            _option("data", Data, DATA),
        ]
    )
    return _with_signature(command, signature)


def _with_signature(command: Callable[..., None], signature: inspect.Signature) -> Callable[..., None]:
    vars(command)["__signature__"] = signature  # where typer looks
    return command


def _option(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _annotation(parameter: Parameter) -> Any:
    """Text, whatever it takes: it is read, and refused, as the service does."""
    option = typer.Option(
        f"--{parameter.name.replace('_', '-')}", metavar=_metavar(parameter), help=parameter.description
    )
    return Annotated[str if parameter.is_required else str | None, option]


def _metavar(parameter: Parameter) -> str:
    takes = parameter.takes
    if " or " in takes and len(takes) < 40:
        return takes.replace(" or ", "|")
    for beginning, metavar in (("an id", "ID"), ("a time", "TIME"), ("a whole", "N"), ("one or more", "A,B,…")):
        if takes.startswith(beginning):
            return metavar
    return "TEXT"


app.command("evidence")(evidence)
for each in QUESTIONS:
    app.command(each.name, help=f"{each.summary}.")(_command(each))
