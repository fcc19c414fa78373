"""What this service offers, exactly (RFC 7644 §4, RFC 7643 §5 to §7): made from the attribute table."""

from typing import Any

from msgspec import structs
from starlette.requests import Request
from starlette.responses import Response

from api import scim_groups, scim_resource, scim_users, wire
from api.call import call_of
from api.cursors import LIFE
from api.scim_bulk import LARGEST_BODY
from api.scim_query import DEFAULT_COUNT, MOST_RESULTS
from api.scim_users import SCOPE, base_url
from engine.bulk import MOST_OPERATIONS
from engine.catalog import Catalog
from engine.refusals import Forbidden, NotFound
from engine.schema import CORE, GROUP_URN, GROUPS_OF_USER, ROLE, Attribute, Schema

_URN = "urn:ietf:params:scim:schemas:core:2.0:"


async def service_provider_config(request: Request) -> Response:
    await _admit(request)
    return wire.scim(
        {
            "schemas": [_URN + "ServiceProviderConfig"],
            "patch": {"supported": True},
            "bulk": {"supported": True, "maxOperations": MOST_OPERATIONS, "maxPayloadSize": LARGEST_BODY},
            "filter": {"supported": True, "maxResults": MOST_RESULTS},
            "changePassword": {"supported": False},
            "sort": {"supported": True},
            "pagination": {
                "cursor": True,
                "index": True,
                "defaultPaginationMethod": "index",
                "defaultPageSize": DEFAULT_COUNT,
                "maxPageSize": MOST_RESULTS,
                "cursorTimeout": LIFE,
            },
            "etag": {"supported": True},
            "authenticationSchemes": [
                {
                    "type": "oauthbearertoken",
                    "name": "Bearer token",
                    "description": "A token that the operator or an admin of the tenant issued.",
                    "specUri": "https://www.rfc-editor.org/info/rfc6750",
                    "primary": True,
                }
            ],
            "meta": {
                "resourceType": "ServiceProviderConfig",
                "location": f"{base_url(request)}/ServiceProviderConfig",
            },
        }
    )


async def schemas(request: Request) -> Response:
    await _admit(request)
    found = [_schema(each, request) for each in _schemas(request)]
    return wire.scim(scim_resource.list_response(found, len(found)))


async def schema(request: Request) -> Response:
    await _admit(request)
    for each in _schemas(request):
        if each.id.lower() == request.path_params["id"].lower():
            return wire.scim(_schema(each, request))
    raise NotFound(f"There is no such schema. There are: {', '.join(each.id for each in _schemas(request))}.")


async def resource_types(request: Request) -> Response:
    await _admit(request)
    found = _resource_types(request)
    return wire.scim(scim_resource.list_response(found, len(found)))


async def resource_type(request: Request) -> Response:
    await _admit(request)
    found = _resource_types(request)
    for each in found:
        if request.path_params["id"].lower() in {each["id"].lower(), each["endpoint"].lower().strip("/")}:
            return wire.scim(each)
    raise NotFound(f"There is no such resource type. There is: {', '.join(each['id'] for each in found)}.")


async def _admit(request: Request) -> None:
    await scim_users.let_in(request, SCOPE)
    if "filter" in request.query_params:
        raise Forbidden("What is offered cannot be filtered (RFC 7644 §4); it is short.")


def _has_groups(request: Request) -> bool:
    return call_of(request).admitted.settings.groups == "on"


def _schemas(request: Request) -> list[Schema]:
    call = call_of(request)
    found = [*scim_users.catalog_of(call).schemas]
    if _has_groups(request):
        found += scim_groups.catalog_of(call).schemas
    return list({each.id: each for each in found}.values())


def _resource_types(request: Request) -> list[dict[str, Any]]:
    base = base_url(request)
    call = call_of(request)
    found = [_user_type(base, scim_users.catalog_of(call))]
    return [*found, _group_type(base, scim_groups.catalog_of(call))] if _has_groups(request) else found


def _group_type(base: str, catalog: Catalog) -> dict[str, Any]:
    return {
        "schemas": [_URN + "ResourceType"],
        "id": "Group",
        "name": "Group",
        "endpoint": "/Groups",
        "description": "A group of the directory.",
        "schema": GROUP_URN,
        **({"schemaExtensions": _extensions(catalog)} if catalog.extensions else {}),
        "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/Group"},
    }


def _extensions(catalog: Catalog) -> list[dict[str, Any]]:
    return [{"schema": each.id, "required": False} for each in catalog.schemas if each != catalog.core]


def _user_type(base: str, catalog: Catalog) -> dict[str, Any]:
    return {
        "schemas": [_URN + "ResourceType"],
        "id": "User",
        "name": "User",
        "endpoint": "/Users",
        "description": "A person of the directory.",
        "schema": CORE,
        "schemaExtensions": _extensions(catalog),
        "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/User"},
    }


def _schema(each: Schema, request: Request) -> dict[str, Any]:
    roles = tuple(role.value for role in call_of(request).admitted.settings.roles)
    attributes = [
        structs.replace(one, canonical_values=roles) if one == ROLE else one
        for one in each.attributes
        if one != GROUPS_OF_USER or _has_groups(request)
    ]
    return {
        "schemas": [_URN + "Schema"],
        "id": each.id,
        "name": each.name,
        "description": each.description,
        "attributes": [_attribute(attribute) for attribute in attributes],
        "meta": {"resourceType": "Schema", "location": f"{base_url(request)}/Schemas/{each.id}"},
    }


def _attribute(attribute: Attribute) -> dict[str, Any]:
    """RFC 7643 §7. Microsoft's readers stumble over nulls and empty lists, so what does not apply is left out."""
    found: dict[str, Any] = {
        "name": attribute.name,
        "type": attribute.type,
        "multiValued": attribute.multi_valued,
        "description": attribute.description,
        "required": attribute.required,
        "caseExact": attribute.case_exact,
        "mutability": attribute.mutability,
        "returned": attribute.returned,
        "uniqueness": attribute.uniqueness,
    }
    if attribute.canonical_values:
        found["canonicalValues"] = list(attribute.canonical_values)
    if attribute.reference_types:
        found["referenceTypes"] = list(attribute.reference_types)
    if attribute.sub_attributes:
        found["subAttributes"] = [_attribute(sub) for sub in attribute.sub_attributes]
    return found
