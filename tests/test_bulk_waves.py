"""The order of a bulk message: what goes at the same time, and what waits for what."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import bulk
from engine.bulk import Operation, next_wave, references, resolved
from engine.quirks import Quirk
from engine.values import Quirks


def operations(*given: dict[str, Any]) -> tuple[Operation, ...]:
    return bulk.read({"schemas": [bulk.REQUEST], "Operations": list(given)}, []).operations


def make(name: str, refers_to: str | None = None, collection: str = "Users") -> dict[str, Any]:
    data = {"userName": name, "manager": f"bulkId:{refers_to}"} if refers_to else {"userName": name}
    return {"method": "POST", "path": f"/{collection}", "bulkId": name, "data": data}


def change(id_: str, attribute: str = "title", collection: str = "Users") -> dict[str, Any]:
    operation = {"op": "replace", "path": attribute, "value": "x"}
    return {"method": "PATCH", "path": f"/{collection}/{id_}", "data": {"Operations": [operation]}}


def delete(id_: str) -> dict[str, Any]:
    return {"method": "DELETE", "path": f"/Users/{id_}"}


def waves(*given: dict[str, Any], most: int = 1_000) -> list[list[int]]:
    """The places of the operations, wave after wave; what waits for nothing that comes is left."""
    waiting, known, found = list(operations(*given)), frozenset[str](), list[list[int]]()
    while wave := next_wave(waiting, known, most):
        found.append([each.place for each in wave])
        waiting = [each for each in waiting if each not in wave]
        known |= {each.bulk_id for each in wave if each.bulk_id}
    return found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([make("a"), make("b"), make("c")], [[0, 1, 2]]),
        ([change("1"), change("2"), change("1")], [[0, 1], [2]]),
        ([delete("1"), delete("2")], [[0, 1]]),
        ([make("a"), change("1"), make("b")], [[0], [1], [2]]),
        ([make("a"), make("g", collection="Groups")], [[0], [1]]),
        ([change("1", "userName"), change("2", "userName")], [[0], [1]]),
        ([change("1"), change("2", "USERNAME"), change("3")], [[0], [1], [2]]),
        ([change("1", "externalId"), change("2", "microsoftId")], [[0], [1]]),
        ([make("a", "b"), make("b")], [[1], [0]]),
        ([make("a", "b"), make("b", "c"), make("c"), make("d")], [[2, 3], [1], [0]]),
        ([make("a", "b"), make("b", "a"), make("c")], [[2]]),
        ([change("1") | {"data": {"x": "bulkId:a"}}, change("1"), make("a")], [[2], [0], [1]]),
    ],
)
def test_what_goes_beside_each_other_and_what_waits(given: list[dict[str, Any]], expected: list[list[int]]) -> None:
    assert waves(*given) == expected


def test_no_wave_is_greater_than_is_asked_for() -> None:
    assert waves(make("a"), make("b"), make("c"), most=2) == [[0, 1], [2]]


IDS, NAMES = st.sampled_from("12"), st.sampled_from("abc")
ANY = st.one_of(
    st.builds(make, NAMES, st.none() | NAMES, st.sampled_from(["Users", "Groups"])),
    st.builds(change, IDS, st.sampled_from(["title", "userName"])),
    st.builds(delete, IDS),
)


@given(st.lists(ANY, max_size=8, unique_by=lambda each: each.get("bulkId", id(each))), st.integers(1, 4))
def test_nothing_overtakes_what_it_depends_on(given: list[dict[str, Any]], most: int) -> None:
    all_, found = operations(*given), waves(*given, most=most)
    done = [place for wave in found for place in wave]

    assert len(done) == len(set(done))
    for wave in found:
        alike = {(all_[place].method, all_[place].collection, all_[place].keeps_names) for place in wave}
        assert len(alike) == 1
        assert len(wave) == 1 or (len(wave) <= most and all(all_[place].keeps_names for place in wave))
    turn = {place: number for number, wave in enumerate(found) for place in wave}
    for place in done:
        assert all(turn[each.place] < turn[place] for each in all_ if each.bulk_id in all_[place].refers_to)
        same = [each.place for each in all_[:place] if each.id and each.path == all_[place].path]
        assert all(turn[each] < turn[place] for each in same)


REFERRING = {
    "members": [{"value": "bulkId:a"}, {"value": "x bulkId:no"}],
    "path": 'members[value eq "bulkId:b"]',
    "$ref": "../Users/bulkId:c",
    "count": 1,
}


def test_references_are_found_and_resolved_wherever_a_value_may_stand() -> None:
    assert list(references(REFERRING)) == ["a", "b", "c"]
    assert resolved(REFERRING, {"a": "1", "b": "2", "c": "3"}) == {
        "members": [{"value": "1"}, {"value": "x bulkId:no"}],
        "path": 'members[value eq "2"]',
        "$ref": "../Users/3",
        "count": 1,
    }


def test_a_message_without_its_schema_is_read_and_noted() -> None:
    quirks: Quirks = []
    assert bulk.read({"schemas": [bulk.REQUEST], "Operations": []}, quirks) == bulk.read({"operations": []}, [])
    assert quirks == []
    bulk.read({"Operations": []}, quirks)
    assert quirks == [Quirk.NO_SCHEMAS]
