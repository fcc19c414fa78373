"""Quirks: each way in which a client may depart from SCIM and be understood all the same, in words of ours.

A quirk is told as its words alone, or behind a place, `emails.primary: a string for a boolean`. A place is a name of
our schema. Nothing that a client sent stands in it: not even the name of an attribute that we do not know, for it could
be anything.
"""

import re
from enum import StrEnum

_INDEX = re.compile(r"\[\d+\]")


class Quirk(StrEnum):
    """What was tolerated. The admin guide says of each what to do about it."""

    # Addresses and headers.
    ADDRESS = "address: not in its usual spelling"
    PARAMETER = "address: a parameter that SCIM does not know"
    EMPTY_FILTER = "address: an empty filter"
    MEDIA_TYPE = "Content-Type: missing, or none of SCIM"
    TAG = "If-Match or If-None-Match: a version without quotes"
    # Filters.
    UNQUOTED = "filter: a value without quotes"
    QUOTED_BOOLEAN = "filter: a boolean in quotes"
    QUOTED_NUMBER = "filter: a number in quotes"
    BEHIND_BRACKETS = "filter: a comparison behind a value path"
    NO_ZONE = "filter: a time without its zone"
    SINGLE_VALUE_PATH = "a value path for a single value"
    # Names.
    UNKNOWN = "an unknown attribute"
    UNKNOWN_EXTENSION = "an unknown attribute of another schema"
    UNKNOWN_SUB = "an unknown sub-attribute"
    NOT_KEPT = "a usual part of an element that is not kept here"
    NO_URN = "named without its schema's URN"
    DOT_FOR_COLON = "a dot for the colon behind the schema's URN"
    CORE_OBJECT = "core attributes in an object under the core schema's URN"
    PATH_AS_NAME = "a path as the name of a member"
    GIVEN_TWICE = "given twice, under two names"
    # Schemas of a body.
    NO_SCHEMAS = "schemas: missing"
    UNKNOWN_SCHEMA = "schemas: lists one that is unknown here"
    UNDECLARED_SCHEMA = "schemas: does not list one that is used"
    # Values.
    STRING_FOR_BOOLEAN = "a string for a boolean"
    STRING_FOR_NUMBER = "a string for a number"
    STRING_FOR_OBJECT = "a string for an object"
    ONE_FOR_LIST = "one value for a list"
    LIST_OF_ONE = "a list of one for a single value"
    EMPTY_STRING = "an empty string for no value"
    EMPTY_ELEMENT = "an empty element of a list"
    READ_ONLY = "read-only, left as it is"
    WHICH_ELEMENT = "a sub-attribute of a list, without saying of which element"
    ROLE_AS_JSON = "role: JSON within a string"
    NO_SUCH_ROLE = "role: names none of the tenant's roles, and changes nothing"
    # Creations.
    NO_ACTIVE = "active: missing in a creation, and taken as true"
    # PATCH.
    CAPITALS = "op: not in lower case"
    STRAY_MEMBER = "a member that PatchOp does not have"
    NO_OPERATIONS = "Operations: empty"
    EMPTY_PATH = "path: empty"
    SCHEMA_AS_PATH = "path: the URN of a schema"
    REMOVED_BY_VALUE = "removed by its value instead of a filter"
    MADE = "made, for the value path matched nothing"


def at(place: str, quirk: Quirk) -> str:
    """A quirk at a place of our schema; which element of a list it was is not told."""
    return f"{_INDEX.sub('', place)}: {quirk}"


def told_in(text: str) -> Quirk:
    """The quirk that a text tells, with or without a place before it."""
    return Quirk(text if text in _TEXTS else text.partition(": ")[2])


_TEXTS = {each.value for each in Quirk}
