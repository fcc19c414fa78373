"""The source directory that the simulated Entra reads, and the company that fills it."""

import re
from random import Random

from ops.directory import Directory, Person
from ops.entra_contoso import contoso

ADA = Person("66e4a8cc-1b7b-435e-95f8-f06cea133828", "ada@contoso.com")
BOB = Person("b0b00000-0000-4000-8000-000000000000", "bob@contoso.com")


def test_the_directory_tells_what_changed_since_a_watermark() -> None:
    directory = Directory([ADA, BOB])
    seen = directory.watermark

    directory.change(BOB.object_id, job_title="Chef")
    directory.disable(ADA.object_id)
    directory.set_manager(ADA.object_id, BOB)
    directory.assign(BOB.object_id)

    assert directory.changed_since(seen) == [ADA.object_id, BOB.object_id]
    assert directory.changed_since(directory.watermark) == []


def test_contoso_is_the_same_for_the_same_seed_and_has_no_two_of_a_name() -> None:
    first, second = (contoso(500, Random(1)).people for _ in range(2))

    assert first == second
    names = [person.user_principal_name for person in first]
    assert len(set(names)) == len({person.object_id for person in first}) == 500
    assert all(re.fullmatch(r"[a-z0-9.-]+@contoso\.example", name) for name in names)


def test_everyone_at_contoso_but_one_has_a_manager_who_came_before() -> None:
    people = contoso(200, Random(1)).people

    came_before: set[str | None] = {None}
    for person in people:
        assert person.manager in came_before
        came_before.add(person.object_id)
    assert [person.manager for person in people].count(None) == 1
