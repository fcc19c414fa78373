"""What Entra sends and what must come of it, as data: one file in `entra/` is one exchange, walked by one test.

A file has a title, the section of the notes on Entra that it comes from, the tenant's settings if they matter, and
steps. A step is a request with the response that must follow:

- `body` of a response is a part of the real one: each member must be there with that very value and JSON type, lists
  must be of the same length; `absent` lists paths that must not be there; `headers` are compared by their beginning;
- `save` keeps a member of the response under a name, and `{name}` in later paths and bodies is replaced by it;
- `events`, where given, are the types of the events that this step appended to the stream of the user `{id}`.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Directory

EXCHANGES = {path.stem: json.loads(path.read_text()) for path in sorted((Path(__file__).parent / "entra").glob("*"))}


@pytest.mark.parametrize("name", EXCHANGES)
async def test_the_exchange_goes_as_entra_demands(name: str, directory: Directory) -> None:
    exchange = EXCHANGES[name]
    if settings := exchange.get("settings"):
        await directory.set_settings(**settings)
    saved: dict[str, str] = {}
    for step in exchange["steps"]:
        await take(step, saved, directory)


async def take(step: dict[str, Any], saved: dict[str, str], directory: Directory) -> None:
    request, expected = filled(step["request"], saved), filled(step["response"], saved)
    before = await directory.event_types(saved["id"]) if "events" in step else []
    response = await directory.request(
        request["method"], request["path"], json=request.get("body"), headers=request.get("headers")
    )
    assert response.status_code == expected["status"], response.text
    for name, value in expected.get("headers", {}).items():
        assert response.headers[name].startswith(value)
    answer = response.json() if response.content else {}
    assert_part(expected.get("body", {}), answer, "the answer")
    for segments in expected.get("absent", []):
        assert not holds(answer, segments), f"{segments} is there"
    if response.is_error:
        assert answer["detail"]
    saved.update({name: answer[member] for name, member in expected.get("save", {}).items()})
    if "events" in step:
        assert (await directory.event_types(saved["id"]))[len(before) :] == step["events"]


def filled(value: Any, saved: dict[str, str]) -> Any:
    match value:
        case str():
            for name, each in saved.items():
                value = value.replace(f"{{{name}}}", each)
            return value
        case list():
            return [filled(each, saved) for each in value]
        case dict():
            return {name: filled(each, saved) for name, each in value.items()}
        case _:
            return value


def assert_part(expected: Any, found: Any, where: str) -> None:
    assert type(expected) is type(found), f"{where} is {found!r}, not {expected!r}"
    if isinstance(expected, dict):
        for name, value in expected.items():
            assert name in found, f"{where} has no {name}"
            assert_part(value, found[name], f"{where}.{name}")
    elif isinstance(expected, list):
        assert len(expected) == len(found), f"{where} has {len(found)} elements"
        for place, (value, each) in enumerate(zip(expected, found, strict=True)):
            assert_part(value, each, f"{where}[{place}]")
    else:
        assert found == expected, f"{where} is {found!r}, not {expected!r}"


def holds(found: Any, segments: list[str]) -> bool:
    for segment in segments:
        if not isinstance(found, dict) or segment not in found:
            return False
        found = found[segment]
    return True


def test_every_section_on_requests_has_its_exchanges() -> None:
    sections = {exchange["section"] for exchange in EXCHANGES.values()}

    assert sections >= {f"1.{number}" for number in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13)}
    assert sections >= {"2.3", "2.4", "3.1", "3.8", "4.1", "4.2"}
