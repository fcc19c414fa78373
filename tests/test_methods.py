"""What every address of SCIM says of methods, media types and versions (RFC 7644 §3.2, §3.8, §3.12, §3.14)."""

import gzip
from typing import Any

import pytest

from api import accept
from engine.refusals import NotAcceptable
from tests.conftest import Directory

SCIM = "/scim/v2"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
Json = dict[str, Any]

READ = {"GET", "HEAD", "OPTIONS"}
LIST = READ | {"POST"}
ONE = READ | {"PUT", "PATCH", "DELETE"}
SEARCH = {"POST", "OPTIONS"}
TAKEN = {
    "": READ,
    "/.search": SEARCH,
    "/Users": LIST,
    "/Users/.search": SEARCH,
    "/Users/{user}": ONE,
    "/Groups": LIST,
    "/Groups/.search": SEARCH,
    "/Groups/{group}": ONE,
    "/ServiceProviderConfig": READ,
    "/Schemas": READ,
    f"/Schemas/{USER}": READ,
    "/ResourceTypes": READ,
    "/ResourceTypes/Group": READ,
    "/Bulk": SEARCH,
    "/Me": ONE | {"POST"},
}
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND")


@pytest.fixture
async def grouped(directory: Directory) -> Directory:
    await directory.set_settings(groups="on")
    return directory


async def user_of(directory: Directory) -> str:
    return await directory.create("ann", schemas=[USER])


async def group_of(directory: Directory) -> str:
    body = {"schemas": [GROUP], "displayName": "All"}
    answer = await directory.request("POST", f"{SCIM}/Groups", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize("path", TAKEN)
async def test_every_address_takes_the_methods_that_it_says_and_no_other(grouped: Directory, path: str) -> None:
    address = SCIM + path.format(user=await user_of(grouped), group=await group_of(grouped))
    for method in METHODS:
        answer = await grouped.request(method, address)
        if method == "OPTIONS":
            assert (answer.status_code, answer.content) == (204, b"")
        elif method in TAKEN[path]:
            assert answer.status_code not in {405, 500}, (method, answer.text)
        else:
            assert answer.status_code == 405, method
            assert method == "HEAD" or answer.json()["schemas"] == [ERROR]
        if method == "OPTIONS" or method not in TAKEN[path]:
            assert {each.strip() for each in answer.headers["allow"].split(",")} == TAKEN[path]


@pytest.mark.parametrize("path", [path for path, taken in TAKEN.items() if "GET" in taken and path != "/Me"])
async def test_head_is_answered_like_get(grouped: Directory, path: str) -> None:
    address = SCIM + path.format(user=await user_of(grouped), group=await group_of(grouped))
    get, head = [await grouped.request(method, address) for method in ("GET", "HEAD")]
    assert get.status_code == head.status_code == 200
    names = ("content-type", "content-length", "etag", "location")
    assert [head.headers.get(name) for name in names] == [get.headers.get(name) for name in names]


@pytest.mark.parametrize(("method", "path"), [
    ("POST", "/Users"), ("PUT", "/Users/{user}"), ("PATCH", "/Users/{user}"), ("POST", "/Users/.search"),
    ("POST", "/Groups"), ("PUT", "/Groups/{group}"), ("PATCH", "/Groups/{group}"), ("POST", "/Groups/.search"),
    ("POST", "/.search"), ("POST", "/Bulk"),
])  # fmt: skip
@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded"])
async def test_a_body_of_another_type_is_415(grouped: Directory, method: str, path: str, media_type: str) -> None:
    address = SCIM + path.format(user=await user_of(grouped), group=await group_of(grouped))
    answer = await grouped.request(method, address, content=b"{}", headers={"Content-Type": media_type})
    assert (answer.status_code, answer.json()["status"]) == (415, "415")


async def test_a_body_that_is_compressed_is_415_and_says_so(directory: Directory) -> None:
    body = gzip.compress(b'{"userName": "ann"}')
    answer = await directory.request("POST", f"{SCIM}/Users", content=body, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    assert "Content-Encoding" in answer.json()["detail"]


NOT_ACCEPTED = [
    "text/html",
    "application/xml",
    "text/*, image/png",
    "application/scim+json;q=0, application/json; q=0.000",
    "application/scim+json;q=0, application/json;q=0, */*",
    "application/*;q=0, */*;q=0.5",
    "*/*;q=0",
    "nonsense",
]
ACCEPTED = [
    "application/scim+json",
    "application/json",
    "Application/JSON; charset=utf-8",
    "text/html, application/xhtml+xml, */*;q=0.8",
    "application/*",
    "application/scim+json;q=0, application/json;q=0.1",
    "text/html;q=1, application/scim+json;q=0.001",
    "",
    " , ,",
]


@pytest.mark.parametrize("field", NOT_ACCEPTED)
def test_what_excludes_json_is_not_acceptable(field: str) -> None:
    with pytest.raises(NotAcceptable, match="application/scim"):
        accept.check([field])


@pytest.mark.parametrize("field", ACCEPTED)
def test_what_has_json_among_others_is_acceptable(field: str) -> None:
    accept.check([field])


def test_each_field_of_accept_counts() -> None:
    accept.check([])
    accept.check(["text/html", "application/json"])
    with pytest.raises(NotAcceptable):
        accept.check(["text/html", "image/png"])


async def test_who_takes_no_json_is_refused_where_scim_is_strict_and_nothing_is_done(grouped: Directory) -> None:
    await grouped.set_settings(mode="strict")
    user, group = await user_of(grouped), await group_of(grouped)
    for path, taken in TAKEN.items():
        for method in sorted(taken & {"GET", "POST", "PUT", "PATCH", "DELETE"}):
            address = SCIM + path.format(user=user, group=group)
            answer = await grouped.request(method, address, headers={"Accept": "text/html"})
            assert (answer.status_code, answer.json()["status"]) == (406, "406"), (method, path)
            assert answer.headers["content-type"] == "application/scim+json"
    assert (await grouped.request("GET", SCIM)).json()["totalResults"] == 2


async def test_entra_is_answered_whatever_it_accepts(grouped: Directory) -> None:
    for path in (f"/Users/{await user_of(grouped)}", "/Groups", "/Schemas", ""):
        assert (await grouped.request("GET", SCIM + path, headers={"Accept": "text/html"})).status_code == 200


BODIES: dict[str, Json] = {
    "Users": {"schemas": [USER], "userName": "ann", "displayName": "B"},
    "Groups": {"schemas": [GROUP], "displayName": "B"},
}
REPLACE = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "displayName", "value": "B"}]}


@pytest.mark.parametrize("mode", ["entra", "strict"])
@pytest.mark.parametrize("kind", BODIES)
async def test_versions_are_the_same_everywhere_and_guard_what_they_name(
    grouped: Directory, mode: str, kind: str
) -> None:
    await grouped.set_settings(mode=mode)
    address = f"{SCIM}/{kind}/{await (user_of if kind == 'Users' else group_of)(grouped)}"
    first = (await grouped.request("GET", address)).headers["etag"]
    listed = (await grouped.request("GET", f"{SCIM}/{kind}")).json()["Resources"]
    assert [each["meta"]["version"] for each in listed] == [first]

    changed = await grouped.request("PATCH", address, json=REPLACE, headers={"If-Match": first})
    second = changed.headers["etag"]
    assert (changed.status_code, changed.json()["meta"]["version"]) == (200, second)
    assert second != first
    for method, body in (("PUT", BODIES[kind]), ("PATCH", REPLACE), ("DELETE", None)):
        stale = await grouped.request(method, address, json=body, headers={"If-Match": first})
        assert (stale.status_code, stale.json()["status"]) == (412, "412")
        only_new = await grouped.request(method, address, json=body, headers={"If-None-Match": "*"})
        assert only_new.status_code == 412
    again = await grouped.request("PUT", address, json=BODIES[kind], headers={"If-Match": f"{first}, {second}"})
    assert (again.status_code, again.headers["etag"]) == (200, second)

    for method in ("GET", "HEAD"):
        for tags in (second, "*", f"{first}, {second}"):
            known = await grouped.request(method, address, headers={"If-None-Match": tags})
            assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", second)
        assert (await grouped.request(method, address, headers={"If-None-Match": first})).status_code == 200
    assert (await grouped.request("DELETE", address, headers={"If-Match": second})).status_code == 204
    assert (await grouped.request("GET", address, headers={"If-None-Match": second})).status_code == 404


@pytest.mark.parametrize("kind", BODIES)
async def test_a_version_of_what_is_not_there_is_404(grouped: Directory, kind: str) -> None:
    address = f"{SCIM}/{kind}/00000000-0000-7000-8000-000000000000"
    for method, body in (("PUT", BODIES[kind]), ("PATCH", REPLACE), ("DELETE", None)):
        answer = await grouped.request(method, address, json=body, headers={"If-Match": 'W/"1"'})
        assert answer.status_code == 404, answer.text


async def test_what_is_switched_off_is_501_and_what_is_nowhere_404(directory: Directory) -> None:
    group = {"schemas": [GROUP], "displayName": "B"}
    somebody = f"{SCIM}/Groups/00000000-0000-7000-8000-000000000000"
    for method, path in (("POST", f"{SCIM}/Groups"), ("PUT", somebody), ("PATCH", somebody), ("DELETE", somebody)):
        answer = await directory.request(method, path, json=group)
        assert (answer.status_code, answer.json()["status"]) == (501, "501")
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        for path in (f"{SCIM}/Devices", f"{SCIM}/Users/a/b", "/scim/v3/Users"):
            answer = await directory.request(method, path, json={})
            assert (answer.status_code, answer.json()["schemas"]) == (404, [ERROR])
