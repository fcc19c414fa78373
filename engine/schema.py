"""The attributes of resources as data: one table for validation, coercion, PATCH paths, filters and `/Schemas`."""

from typing import Literal

from msgspec import Struct, structs

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
GROUP_URN = "urn:ietf:params:scim:schemas:core:2.0:Group"
ROLLBOOK = "urn:ietf:params:scim:schemas:extension:rollbook:2.0:User"

Type = Literal["string", "boolean", "integer", "decimal", "dateTime", "reference", "binary", "complex"]


class Attribute(Struct, frozen=True):
    """One attribute with its characteristics (RFC 7643 §2.2, §7)."""

    name: str
    description: str
    type: Type = "string"
    multi_valued: bool = False
    required: bool = False
    case_exact: bool = False
    mutability: Literal["readWrite", "readOnly", "immutable", "writeOnly"] = "readWrite"
    returned: Literal["always", "default", "request", "never"] = "default"
    uniqueness: Literal["none", "server", "global"] = "none"
    canonical_values: tuple[str, ...] = ()
    reference_types: tuple[str, ...] = ()
    sub_attributes: tuple["Attribute", ...] = ()
    most: int | None = None  # elements of a list, if it is another number than usual
    is_closed: bool = False  # whether its canonical values are all that it takes
    longest: int | None = None  # characters; a value with an index must fit into it (PostgreSQL: 2,704 bytes)

    def sub(self, name: str) -> "Attribute | None":
        """The sub-attribute of this name. Names compare without case (RFC 7643 §2.1)."""
        for sub in self.sub_attributes:  # in the usual spelling, mostly
            if sub.name == name:
                return sub
        folded = name.lower()
        return next((sub for sub in self.sub_attributes if sub.name.lower() == folded), None)


class Schema(Struct, frozen=True):
    """A schema of RFC 7643 §7: its URN, and its attributes."""

    id: str
    name: str
    description: str
    attributes: tuple[Attribute, ...]


class Leaf(Struct, frozen=True):
    """A place that holds a value. `key` is its name in stored state and in events: `title`, `name.formatted`,
    `urn:…:enterprise:2.0:User:manager.value`; a multi-valued attribute is one leaf, whole."""

    key: str
    attribute: Attribute  # of the value itself: for `name.formatted`, the sub-attribute `formatted`


class Target(Struct, frozen=True):
    """What a name in a path, a filter or a body means: an attribute and, perhaps, one of its sub-attributes."""

    key: str  # of the attribute, without the sub-attribute
    attribute: Attribute
    sub: Attribute | None = None
    prefix: str | None = None  # the URN under which one of `NAMED_BY_URN` was named

    @property
    def leaf(self) -> str:
        return f"{self.key}.{self.sub.name}" if self.sub and not self.attribute.multi_valued else self.key


_TYPE_OF = {"emails": ("work", "home", "other"), "phoneNumbers": ("work", "home", "mobile", "fax", "pager", "other")}
_MATCHED = 500  # characters


def _labels(*types: str) -> tuple[Attribute, ...]:
    return (
        Attribute("display", "A name for showing."),
        Attribute("type", "A label for what it is used for.", canonical_values=types),
        Attribute("primary", "Whether this is the preferred one; at most one is.", "boolean"),
    )


def _list(name: str, description: str, value: Attribute, *types: str) -> Attribute:
    return Attribute(name, description, "complex", multi_valued=True, sub_attributes=(value, *_labels(*types)))


_NAME = Attribute(
    "name",
    "The parts of the person's name.",
    "complex",
    sub_attributes=(
        Attribute("formatted", "The whole name, as it is shown."),
        Attribute("familyName", "The family name."),
        Attribute("givenName", "The given name."),
        Attribute("middleName", "The middle names."),
        Attribute("honorificPrefix", "A title before the name."),
        Attribute("honorificSuffix", "A suffix after the name."),
    ),
)

_ADDRESSES = Attribute(
    "addresses",
    "Postal addresses.",
    "complex",
    multi_valued=True,
    sub_attributes=(
        Attribute("formatted", "The whole address, as it is shown."),
        Attribute("streetAddress", "Street and number."),
        Attribute("locality", "City."),
        Attribute("region", "State or region."),
        Attribute("postalCode", "Postal code."),
        Attribute("country", "Country."),
        Attribute("type", "A label for what it is used for.", canonical_values=("work", "home", "other")),
        Attribute("primary", "Whether this is the preferred one; at most one is.", "boolean"),
    ),
)

ACTIVE = Attribute("active", "Whether the person may use the product. An active user holds a seat.", "boolean")
# People sign in elsewhere: it is taken, for directories may send one, and forgotten at once.
PASSWORD = Attribute(
    "password", "Taken and not kept: nobody signs in here.", mutability="writeOnly", returned="never", case_exact=True
)
ROLE = Attribute(
    "role", "The person's role in the product, one of the tenant's (owner, admin, member).", longest=_MATCHED
)
MICROSOFT_ID = Attribute(
    "microsoftId", "The object id of the person in Microsoft Entra ID.", uniqueness="server", longest=_MATCHED
)

# Offered where groups are on.
GROUPS_OF_USER = Attribute(
    "groups",
    "The groups that the person is in, by oneself or within another group; changed through the groups.",
    "complex",
    multi_valued=True,
    mutability="readOnly",
    sub_attributes=(
        Attribute("value", "The id of the group.", case_exact=True, mutability="readOnly"),
        Attribute(
            "$ref",
            "The address of the group.",
            "reference",
            case_exact=True,
            mutability="readOnly",
            reference_types=("Group",),
        ),
        Attribute("display", "The name of the group.", mutability="readOnly"),
        Attribute(
            "type",
            "Whether the person is a member oneself, or a group within it is.",
            mutability="readOnly",
            canonical_values=("direct", "indirect"),
        ),
    ),
)

# An attribute of every resource and of no schema (RFC 7643 §3.1); Microsoft's readers look for it among the user's.
EXTERNAL_ID = Attribute("externalId", "The id of the resource in the directory.", case_exact=True, longest=_MATCHED)

USER = Schema(
    CORE,
    "User",
    "User Account",
    (
        Attribute(
            "userName",
            "The name with which the person signs in; unique in the tenant, without regard to case.",
            required=True,
            uniqueness="server",
            longest=_MATCHED,
        ),
        _NAME,
        Attribute("displayName", "The name that is shown."),
        Attribute("nickName", "The casual name."),
        Attribute("profileUrl", "The person's page.", "reference", case_exact=True, reference_types=("external",)),
        Attribute("title", "The position in the company."),
        Attribute("userType", "The relation to the company, such as Employee."),
        Attribute("preferredLanguage", "The preferred language."),
        Attribute("locale", "The locale, for currency and dates."),
        Attribute("timezone", "The time zone."),
        ACTIVE,
        PASSWORD,
        _list(
            "emails",
            "E-mail addresses.",
            Attribute("value", "The address.", longest=_MATCHED),
            *_TYPE_OF["emails"],
        ),
        _list("phoneNumbers", "Telephone numbers.", Attribute("value", "The number."), *_TYPE_OF["phoneNumbers"]),
        _list(
            "ims",
            "Instant messaging addresses.",
            Attribute("value", "The address."),
            *("aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo"),
        ),
        _list(
            "photos",
            "Addresses of pictures.",
            Attribute("value", "The picture's address.", "reference", case_exact=True, reference_types=("external",)),
            "photo",
            "thumbnail",
        ),
        _ADDRESSES,
        _list("entitlements", "Things that the person has.", Attribute("value", "The entitlement.")),
        _list("roles", "The directory's own roles, kept as sent.", Attribute("value", "The role.")),
        _list(
            "x509Certificates",
            "Certificates.",
            Attribute("value", "The certificate, DER in base64.", "binary", case_exact=True),
        ),
        GROUPS_OF_USER,
        EXTERNAL_ID,
        MICROSOFT_ID,
        ROLE,
    ),
)

MOST_MEMBERS = 200_000  # in one request; a group may have more

GROUP = Schema(
    GROUP_URN,
    "Group",
    "Group",
    (
        Attribute("displayName", "The name of the group.", required=True, longest=_MATCHED),
        Attribute(
            "members",
            "The members: users, and groups within the group.",
            "complex",
            multi_valued=True,
            sub_attributes=(
                Attribute(
                    "value",
                    "The id of the member.",
                    case_exact=True,
                    required=True,
                    mutability="immutable",
                    longest=_MATCHED,
                ),
                Attribute(
                    "$ref",
                    "The address of the member; it has none until it arrives here.",
                    "reference",
                    case_exact=True,
                    mutability="immutable",
                    reference_types=("User", "Group"),
                ),
                Attribute("type", "What it is.", mutability="immutable", canonical_values=("User", "Group")),
            ),
            most=MOST_MEMBERS,
        ),
        structs.replace(EXTERNAL_ID, uniqueness="server"),
    ),
)

ENTERPRISE_USER = Schema(
    ENTERPRISE,
    "EnterpriseUser",
    "Enterprise User",
    (
        Attribute("employeeNumber", "The number that the company gave.", longest=_MATCHED),
        Attribute("costCenter", "The cost center."),
        Attribute("organization", "The organization."),
        Attribute("division", "The division."),
        Attribute("department", "The department."),
        Attribute(
            "manager",
            "The person's manager.",
            "complex",
            sub_attributes=(
                Attribute("value", "The id of the manager's user.", case_exact=True),
                Attribute(
                    "$ref",
                    "The address of the manager's user.",
                    "reference",
                    case_exact=True,
                    reference_types=("User",),
                ),
                Attribute("displayName", "The manager's name."),
            ),
        ),
    ),
)

# The three names that the seed's mapping puts under the core URN, offered under a true extension too (RFC 7643 §3.3).
NAMED_BY_URN = (ACTIVE, MICROSOFT_ID, ROLE)
ROLLBOOK_USER = Schema(ROLLBOOK, "RollbookUser", "Aliases of active, microsoftId and role", NAMED_BY_URN)

# Never set by a client (RFC 7643 §3.1): read-only wherever a path names them, left out of a body in silence.
COMMON = ("schemas", "id", "meta")
META = Attribute(
    "meta",
    "What the service knows about the resource.",
    "complex",
    mutability="readOnly",
    sub_attributes=(
        Attribute("resourceType", "The type of the resource.", case_exact=True, mutability="readOnly"),
        Attribute("created", "When the resource was made.", "dateTime", mutability="readOnly"),
        Attribute("lastModified", "When the resource was last changed.", "dateTime", mutability="readOnly"),
        Attribute("location", "The address of the resource.", "reference", case_exact=True, mutability="readOnly"),
        Attribute("version", "The version of the resource.", case_exact=True, mutability="readOnly"),
    ),
)
ID = Attribute("id", "The id of the resource.", case_exact=True, mutability="readOnly", returned="always")
SCHEMAS_ATTRIBUTE = Attribute(
    "schemas", "The URNs of the schemas.", multi_valued=True, mutability="readOnly", returned="always"
)
BESIDE_THE_SCHEMAS = (META, ID, SCHEMAS_ATTRIBUTE)
