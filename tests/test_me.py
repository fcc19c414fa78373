"""`/Me` (RFC 7644 §3.11): one's own token opens one's own resource, and nothing else."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from engine.refusals import InvalidValue, NotFound
from ops import administration
from ops.database import Database
from tests.conftest import Directory
from tests.test_cli import Shell

ME = "/scim/v2/Me"
IN_A_DAY = timedelta(days=1)


async def own_token(directory: Directory, user_id: str, *scopes: str) -> dict[str, str]:
    """The header of a request with the person's own token."""
    token = await administration.issue_token(
        directory.services, directory.tenant_id, "Own", scopes or ("me",), datetime.now(UTC) + IN_A_DAY, UUID(user_id)
    )
    return {"Authorization": f"Bearer {token}"}


async def test_ones_own_token_reads_ones_own_resource_at_its_own_address(directory: Directory) -> None:
    ann = await directory.create("ann", title="Boss")
    await directory.create("bob")
    own = await own_token(directory, ann)

    found = await directory.request("GET", ME, headers=own)

    users = (await directory.request("GET", f"/scim/v2/Users/{ann}")).json()
    assert found.json() == users
    assert found.headers["location"] == users["meta"]["location"]
    again = await directory.request("GET", ME, headers={**own, "If-None-Match": found.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    few = await directory.request("GET", f"{ME}?attributes=title", headers=own)
    assert few.json() == {"schemas": users["schemas"], "id": ann, "title": "Boss"}


async def test_what_one_changes_is_a_local_edit_that_the_directory_may_overwrite(directory: Directory) -> None:
    ann = await directory.create("ann", nickName="Annie")
    operation = {"op": "replace", "value": {"nickName": "Nan", "name": {"givenName": "Ann"}}}

    changed = await directory.request(
        "PATCH", ME, json={"Operations": [operation]}, headers=await own_token(directory, ann)
    )
    assert (changed.status_code, changed.json()["nickName"]) == (200, "Nan")
    await directory.patch(ann, {"op": "replace", "path": "nickName", "value": "Annie"})

    events = (await directory.request("GET", f"/v1/users/{ann}/history")).json()["events"]
    assert [each["source"] for each in events] == ["directory", "local", "directory"]
    assert events[2]["overwrote"] == {"nickName": 2}


async def test_a_patch_of_oneself_is_as_strict_as_any(directory: Directory) -> None:
    ann = await directory.create("ann")
    await directory.set_settings(mode="strict")
    own, schemas = await own_token(directory, ann), ["urn:ietf:params:scim:api:messages:2.0:PatchOp"]
    operation, unknown = ({"op": "replace", "path": path, "value": "x"} for path in ("nickName", "shoeSize"))
    for body, status, scim_type in (
        ({"Operations": [operation]}, 400, "invalidSyntax"),
        ({"schemas": schemas, "Operations": [unknown]}, 400, "invalidPath"),
        ({"schemas": schemas, "Operations": [operation]}, 200, None),
    ):
        answer = await directory.request("PATCH", ME, json=body, headers=own)
        assert (answer.status_code, answer.json().get("scimType")) == (status, scim_type)


@pytest.mark.parametrize(
    "value",
    [{"role": "owner"}, {"active": False}, {"userName": "eve"}, {"title": "Boss"}, {"roles": [{"value": "x"}]},
     {"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"manager": {"value": "x"}}}],
)  # fmt: skip
async def test_what_gives_rights_or_is_the_companys_word_cannot_be_changed(
    directory: Directory, value: dict[str, object]
) -> None:
    ann = await directory.create("ann")
    body = {"Operations": [{"op": "replace", "value": {"nickName": "x", **value}}]}

    answer = await directory.request("PATCH", ME, json=body, headers=await own_token(directory, ann))

    assert answer.status_code == 403
    assert "directory" in answer.json()["detail"]
    assert await directory.event_types(ann) == ["UserProvisioned"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_the_rest_is_the_directorys(directory: Directory, method: str) -> None:
    ann = await directory.create("ann")
    answer = await directory.request(method, ME, json={}, headers=await own_token(directory, ann))
    assert answer.status_code == 501


async def test_it_opens_nothing_else_and_no_other_token_opens_it(directory: Directory) -> None:
    ann = await directory.create("ann")
    own = await own_token(directory, ann)

    for path in ("/scim/v2/Users", f"/scim/v2/Users/{ann}", "/v1/users", "/v1/events", "/scim/v2/Bulk"):
        method = "POST" if path.endswith("Bulk") else "GET"
        assert (await directory.request(method, path, headers=own)).status_code == 403, path
    nobodys = await directory.request("GET", ME)
    assert (nobodys.status_code, "nobody's own" in nobodys.json()["detail"]) == (404, True)


async def test_it_ends_with_the_person(directory: Directory) -> None:
    ann = await directory.create("ann")
    own = await own_token(directory, ann)
    await directory.request("DELETE", f"/scim/v2/Users/{ann}")

    body = {"Operations": [{"op": "replace", "path": "nickName", "value": "x"}]}
    assert (await directory.request("GET", ME, headers=own)).status_code == 404
    assert (await directory.request("PATCH", ME, json=body, headers=own)).status_code == 404


@pytest.mark.parametrize("scopes", [("scim",), ("me", "scim")])
async def test_ones_own_token_has_that_scope_alone(directory: Directory, scopes: tuple[str, ...]) -> None:
    ann = await directory.create("ann")
    with pytest.raises(InvalidValue, match="scope me"):
        await own_token(directory, ann, *scopes)


async def test_nobody_has_a_token_who_is_not_there(directory: Directory) -> None:
    with pytest.raises(NotFound, match="no user"):
        await own_token(directory, "01a207dc-8416-75e2-94f2-4333f970c784")


async def test_the_operator_issues_it(company: Directory, database: Database) -> None:
    ann = (await company.request("GET", "/v1/users?limit=1")).json()["users"][0]["id"]

    token = (
        Shell(database.owner_url)
        .output("token", "issue", "--tenant", "contoso", "--name", "Own", "--user", ann)
        .strip()
    )

    found = await company.request("GET", ME, headers={"Authorization": f"Bearer {token}"})
    assert found.json()["id"] == ann
