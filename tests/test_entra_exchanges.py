"""What Entra sends and what must come of it, as data: one file in `entra/` is one exchange, walked by one test.

A file has a title, the section of the notes on Entra that it comes from, the tenant's settings if they matter, and
steps. A step is a request with the response that must follow:

- `body` of a response is a part of the real one: each member must be there with that very value and JSON type, lists
  must be of the same length; `absent` lists paths that must not be there; `headers` are compared by their beginning;
- `says` lists texts that the detail of an error must hold, in any case; `discovers` lists target attributes that the
  gallery's test must be able to make of the schemas;
- a request has a `body`, or a `raw_body` that is sent as it stands;
- `save` keeps a member of the response under a name, and `{name}` in later paths and bodies is replaced by it;
- `events`, where given, are the types of the events that this step appended to the stream of the user `{id}`.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Directory

FOLDER = Path(__file__).parent / "entra"
EXCHANGES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
STEP = {"request", "response", "events"}
REQUEST = {"method", "path", "headers", "body", "raw_body"}
RESPONSE = {"status", "headers", "body", "absent", "says", "discovers", "save"}


@pytest.mark.parametrize("name", EXCHANGES)
async def test_the_exchange_goes_as_entra_demands(name: str, directory: Directory) -> None:
    exchange = EXCHANGES[name]
    if settings := exchange.get("settings"):
        await directory.set_settings(**settings)
    saved: dict[str, str] = {}
    for step in exchange["steps"]:
        await take(step, saved, directory)


async def take(step: dict[str, Any], saved: dict[str, str], directory: Directory) -> None:
    assert step.keys() <= STEP
    assert step["request"].keys() <= REQUEST
    assert step["response"].keys() <= RESPONSE
    request, expected = filled(step["request"], saved), filled(step["response"], saved)
    before = await directory.event_types(saved["id"]) if "events" in step else []
    response = await directory.request(
        request["method"],
        request["path"],
        json=request.get("body"),
        content=request.get("raw_body"),
        headers=request.get("headers"),
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
    for text in expected.get("says", []):
        assert text.lower() in answer["detail"].lower(), f"{answer['detail']!r} does not say {text!r}"
    if "discovers" in expected:
        assert not {name.lower() for name in expected["discovers"]} - discovered(answer)
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


def discovered(schemas: dict[str, Any]) -> set[str]:
    """The target attributes that the gallery's Schema_Discoverability makes of `/Schemas`, in lower case."""
    return {
        name.lower() if ":schemas:core:" in schema["id"] else f"{schema['id']}:{name}".lower()
        for schema in schemas["Resources"]
        for attribute in schema["attributes"]
        for name in targets(attribute)
    }


def targets(attribute: dict[str, Any]) -> list[str]:
    name = attribute["name"]
    if attribute["type"] != "complex" or name in {"manager", "members"}:
        return [name] if name != "id" else []
    parts = {part["name"]: part for part in attribute["subAttributes"] if part["type"] != "reference"}
    places = [name]
    if attribute["multiValued"]:
        kinds = parts.get("type", {}).get("canonicalValues", [])
        places = [f'{name}[type eq "{kind}"]' for kind in kinds] or [f'{name}[primary eq "True"]']
    return [f"{place}.{part}" for place in places for part in parts]


def test_every_section_on_requests_has_its_exchanges() -> None:
    sections = {exchange["section"] for exchange in EXCHANGES.values()}

    assert sections >= {f"1.{number}" for number in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13)}
    assert sections >= {"2.3", "2.4", "3.1", "3.2", "3.3", "3.8", "3.10", "4.1", "4.2"}
