"""Filters (RFC 7644 §3.4.2.2): what binds what, what is typed how, and where a wrong one stops being understood."""

from contextlib import suppress
from datetime import UTC, datetime
from time import process_time
from typing import Any, assert_never

import pytest
from hypothesis import example
from hypothesis import given as for_all
from hypothesis import settings as how
from hypothesis import strategies as st

from engine import paths
from engine.catalog import USERS
from engine.filter_parser import parse
from engine.filters import (
    And,
    Compare,
    Filter,
    Not,
    Nothing,
    Or,
    Present,
    Some,
    holds,
    unknown_names,
)
from engine.quirks import Quirk
from engine.refusals import InvalidFilter, InvalidPath
from engine.schema import CORE, ENTERPRISE, ROLLBOOK

MICROSOFT_ID = "66e4a8cc-1b7b-435e-95f8-f06cea133828"


def shown(filter_: Filter) -> str:
    """A filter with every bracket that it means: `(a & b)`, `(a | b)`, `!a`, `emails[…]`."""
    match filter_:
        case And(left, right):
            return f"({shown(left)} & {shown(right)})"
        case Or(left, right):
            return f"({shown(left)} | {shown(right)})"
        case Not(inner):
            return f"!{shown(inner)}"
        case Some(target, inner):
            return f"{target.leaf}[{shown(inner)}]"
        case Present(target):
            return f"{target.leaf}?"
        case Compare(target, operator, value):
            return f"{target.leaf} {operator} " + (f"'{value}'" if isinstance(value, str) else str(value))
        case Nothing(name):
            return f"nothing:{name}"
        case _:
            assert_never(filter_)


# The queries that Entra sends.


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ('userName eq "ann@example.com"', "userName eq 'ann@example.com'"),
        ('externalId eq "johnwong"', "externalId eq 'johnwong'"),
        ("externalId eq jyoung", "externalId eq 'jyoung'"),
        ('emails[type eq "work"].value eq "a@x"', "emails[(type eq 'work' & value eq 'a@x')]"),
        (f'{CORE}:userName eq "x"', "userName eq 'x'"),
        (f'{CORE}:microsoftId eq "{MICROSOFT_ID}"', f"microsoftId eq '{MICROSOFT_ID}'"),
        (f'{CORE}.microsoftId eq "{MICROSOFT_ID}"', f"microsoftId eq '{MICROSOFT_ID}'"),
        (f'{ROLLBOOK}:role eq "Owner"', "role eq 'Owner'"),
        (f'{ENTERPRISE}:employeeNumber eq "1"', f"{ENTERPRISE}:employeeNumber eq '1'"),
        ('id eq "a" and manager eq "b"', f"(id eq 'a' & {ENTERPRISE}:manager.value eq 'b')"),
        ('manager[value eq "b"]', f"{ENTERPRISE}:manager.value eq 'b'"),
        ('roles[primary eq "True"].value eq "Admin"', "roles[(primary eq True & value eq 'Admin')]"),
    ],
)
def test_the_queries_of_directories_are_understood(text: str, meaning: str) -> None:
    assert shown(parse(text, USERS)) == meaning


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ('name.familyName co "O\'Malley"', "name.familyName co 'O'Malley'"),
        (f'{CORE}:userName sw "J"', "userName sw 'J'"),
        ('meta.lastModified gt "2011-05-13T04:42:34Z"', "meta.lastModified gt 2011-05-13 04:42:34+00:00"),
        (f'schemas eq "{ENTERPRISE}"', f"schemas eq '{ENTERPRISE}'"),
        (
            'userType eq "E" and (emails co "example.com" or emails.value co "example.org")',
            "(userType eq 'E' & (emails[value co 'example.com'] | emails[value co 'example.org']))",
        ),
        (
            'userType ne "E" and not (emails co "example.com" or emails.value co "example.org")',
            "(userType ne 'E' & !(emails[value co 'example.com'] | emails[value co 'example.org']))",
        ),
        (
            'emails[type eq "work" and value co "@x"] or ims[type eq "xmpp" and value co "@y"]',
            "(emails[(type eq 'work' & value co '@x')] | ims[(type eq 'xmpp' & value co '@y')])",
        ),
    ],
)
def test_the_examples_of_rfc_7644_are_understood(text: str, meaning: str) -> None:
    assert shown(parse(text, USERS)) == meaning


# What binds what.


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("title pr or locale pr and timezone pr", "(title? | (locale? & timezone?))"),
        ("title pr and locale pr or timezone pr", "((title? & locale?) | timezone?)"),
        ("title pr or locale pr or timezone pr", "((title? | locale?) | timezone?)"),
        ("title pr and locale pr and timezone pr", "((title? & locale?) & timezone?)"),
        ("(title pr or locale pr) and timezone pr", "((title? | locale?) & timezone?)"),
        ("title pr and (locale pr or timezone pr)", "(title? & (locale? | timezone?))"),
        ("not (title pr) and locale pr", "(!title? & locale?)"),
        ("not (title pr and locale pr)", "!(title? & locale?)"),
        ("not(not(title pr))", "!!title?"),
        ("((title pr))", "title?"),
        ("TITLE Pr AND NOT (Locale PR)", "(title? & !locale?)"),
        ('\ttitle  eq\n"a" and(locale pr)', "(title eq 'a' & locale?)"),
        (
            'emails[type eq "work" or type eq "home" and primary eq true]',
            "emails[(type eq 'work' | (type eq 'home' & primary eq True))]",
        ),
        ('emails[not (type eq "work")]', "emails[!type eq 'work']"),
        ('not (emails[type eq "work"])', "!emails[type eq 'work']"),
        ('emails[type eq "work"] and title pr', "(emails[type eq 'work'] & title?)"),
        ('emails[type eq "work"].display pr and title pr', "(emails[(type eq 'work' & display?)] & title?)"),
    ],
)
def test_not_binds_tightest_then_and_then_or(text: str, meaning: str) -> None:
    assert shown(parse(text, USERS)) == meaning


# What names and values mean.


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ('name.familyName sw "O"', "name.familyName sw 'O'"),
        ('NAME.FAMILYNAME SW "O"', "name.familyName sw 'O'"),
        ("name pr", "name?"),
        ('name[familyName eq "Lee"]', "name.familyName eq 'Lee'"),
        ('emails co "@x"', "emails[value co '@x']"),
        ('emails.type eq "work"', "emails[type eq 'work']"),
        ("emails pr", "emails[?]"),
        ("addresses pr", "addresses[?]"),
        ("addresses.country pr", "addresses[country?]"),
        (f'{CORE}:emails[type eq "work"]', "emails[type eq 'work']"),
        (f'{CORE}:name.givenName eq "A"', "name.givenName eq 'A'"),
        (f'{ENTERPRISE}:manager.displayName eq "A"', f"{ENTERPRISE}:manager.displayName eq 'A'"),
        (f'{ENTERPRISE}:manager.$ref ew "/1"', f"{ENTERPRISE}:manager.$ref ew '/1'"),
        ("active eq true", "active eq True"),
        ("active ne False", "active ne False"),
        ('active eq "TRUE"', "active eq True"),
        ("title eq null", "title eq None"),
        ("title ne NULL", "title ne None"),
        ('title eq "null"', "title eq 'null'"),
        ("title eq 5", "title eq '5'"),
        ("title eq true", "title eq 'true'"),
        (r'title eq "a \"b\" \\ \u00fc \/"', "title eq 'a \"b\" \\ ü /'"),
        ('title eq "and or not ( ) [ ]"', "title eq 'and or not ( ) [ ]'"),
        ('title eq ""', "title eq ''"),
        ('title gt "a"', "title gt 'a'"),
        ('x509Certificates.value eq "AAAA"', "x509Certificates[value eq 'AAAA']"),
    ],
)
def test_names_and_values_have_their_attributes_meaning(text: str, meaning: str) -> None:
    assert shown(parse(text, USERS)) == meaning


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T09:00:00Z", datetime(2026, 11, 23, 9, tzinfo=UTC)),
        ("2026-11-23T09:00:00.123Z", datetime(2026, 11, 23, 9, 0, 0, 123_000, tzinfo=UTC)),
        ("2026-11-23T09:00:00+02:00", datetime(2026, 11, 23, 7, tzinfo=UTC)),
        ("2026-11-23T09:00:00", datetime(2026, 11, 23, 9, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("operator", ["eq", "ne", "gt", "ge", "lt", "le"])
def test_times_are_compared_as_moments(text: str, moment: datetime, operator: str) -> None:
    found = parse(f'meta.lastModified {operator} "{text}"', USERS)

    assert isinstance(found, Compare)
    assert found.value == moment


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('shoeSize eq "44"', ["shoeSize"]),
        ('members eq "1" and title pr', ["members"]),
        ("not (shoes pr or name.nick pr)", ["shoes", "name.nick"]),
        ('emails[kind eq "x"].value eq "y"', ["kind"]),
        ('members[value eq "1"]', ["members"]),
        ('members[value eq "1"].display eq "x"', ["members"]),
        ('urn:other:1.0:User:badge eq "1"', ["urn:other:1.0:User:badge"]),
        ('title eq "x"', []),
    ],
)
def test_an_unknown_attribute_has_no_value_and_is_named(text: str, names: list[str]) -> None:
    assert list(unknown_names(parse(text, USERS))) == names


# Refusals, each with its place.


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "At character 1: it ends too early."),
        ("   ", "At character 4: it ends too early."),
        ("userName", "At character 9: it ends too early."),
        ("userName eq", "At character 12: it ends too early."),
        ("userName eq ", "At character 13: it ends too early."),
        ("userName is", "At character 10: an operator"),
        ('userName "eq" "x"', "At character 10: an operator"),
        ('userName eq "x', "A quoted value begins at character 13 and does not end."),
        ('userName eq "x\\"', "A quoted value begins at character 13 and does not end."),
        ('userName eq "a" "b', "A quoted value begins at character 17 and does not end."),
        (r'userName eq "\x"', "At character 13: the quoted value is not a JSON string"),
        (r'userName eq "\u0000"', "At character 13: the quoted value"),
        (r'userName eq "\ud800"', "At character 13: the quoted value"),
        ("userName eq a\0b", "At character 13: a value is expected."),
        ("userName eq (", "At character 13: a value is expected."),
        ("userName eq ]", "At character 13: a value is expected."),
        ('userName eq "x" "y"', "At character 17: '\"y\"' is not expected here."),
        ('userName eq "x" title pr', "At character 17: 'title' is not expected here."),
        ('userName eq "x")', "At character 16: ')' is not expected here."),
        ('userName eq "x" and', "At character 20: it ends too early."),
        ('userName eq "x" and or title pr', "At character 24: an operator"),
        ("(title pr", "At character 10: ')' is missing."),
        ("()", "At character 2: an attribute's name is expected, not ')'."),
        ("not title pr", "At character 5: '(' is missing."),
        ("not", "At character 4: '(' is missing."),
        ('"title" pr', "At character 1: an attribute's name is expected, not '\"title\"'."),
        ("5 eq 5", "At character 1: an attribute's name"),
        ("-title pr", "At character 1: an attribute's name"),
        ("ti tle pr", "At character 4: an operator"),
        ('emails[type eq "work"', "At character 22: ']' is missing."),
        ('emails[type eq "work")', "At character 22: ']' is missing."),
        ("emails[]", "At character 8: an attribute's name is expected, not ']'."),
        ('emails[type eq "work"].value', "At character 29: it ends too early."),
        ('emails[type eq "work"]. eq "x"', "At character 23: a sub-attribute's name"),
        ('emails[type eq "work"]value eq "x"', "At character 23: 'value' is not expected here."),
        ('emails[emails[type eq "work"]]', "At character 14: a value path cannot stand within another one."),
        ('title[value eq "x"]', "At character 6: title has no sub-attributes to choose by."),
        ('emails.type[value eq "x"]', "At character 12: emails has no sub-attributes to choose by."),
        ('active eq "x" and title pr', "At character 11: active is a boolean; compare it with true or false."),
        ("active eq 1", "At character 11: active is a boolean"),
        ("active gt true", "At character 11: active is a boolean; it can be compared with eq and ne."),
        ('active co "t"', "At character 11: active is a boolean"),
        ('emails[primary sw "t"]', "At character 19: primary is a boolean"),
        ("title gt null", "At character 10: null cannot be compared with gt."),
        ("title co null and active pr", "At character 10: null cannot be compared with co."),
        ('name eq "x"', "At character 9: name is complex; name one of its sub-attributes."),
        ('addresses eq "x"', "At character 14:"),
        ('meta.created eq "soon"', "At character 17: meta.created is a time"),
        ('meta.created co "2026"', "At character 17: meta.created is a time"),
        ("meta.created eq true", "At character 17: meta.created is a time"),
        ('meta.created gt "9999-12-31T23:59:59-23:00"', "At character 17: meta.created is a time"),
        ('x509Certificates.value gt "AAAA"', "At character 27: value is binary; it has no order."),
        ('x509Certificates[value le "AAAA"]', "At character 27: value is binary; it has no order."),
        ("(" * 31 + "title pr" + ")" * 31, "At character 32: brackets are nested more than 30 deep."),
        (" or ".join(["title pr"] * 101), "At character 1201: there are more than 100 terms."),
        ("t" * 8_001, "This is 8001 characters long; 8000 are allowed."),
    ],
)
def test_a_filter_that_is_not_understood_is_refused_at_its_place(text: str, detail: str) -> None:
    with pytest.raises(InvalidFilter) as refused:
        parse(text, USERS)
    assert refused.value.detail.startswith(detail)
    assert refused.value.scim_type == "invalidFilter"


def test_a_refusal_repeats_little_of_the_filter() -> None:
    with pytest.raises(InvalidFilter) as refused:
        parse("title pr " + "x" * 1_000, USERS)
    assert len(refused.value.detail) < 100


def test_filters_may_be_as_long_and_deep_as_is_said() -> None:
    assert shown(parse("(" * 30 + "title pr" + ")" * 30, USERS)) == "title?"
    assert shown(parse(" or ".join(["title pr"] * 100), USERS)).count("?") == 100
    assert shown(parse('title eq "' + "x" * 7_989 + '"', USERS)).count("x") == 7_989


# Whether an element fulfils the filter of a value path.

WORK = {"value": "Ann@Example.com", "type": "work", "primary": True}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('type eq "work"', True),
        ('type eq "WORK"', True),
        ('type ne "work"', False),
        ('value co "@example"', True),
        ('value sw "ann"', True),
        ('value ew ".COM"', True),
        ('value sw "x"', False),
        ('value gt "a"', True),
        ('value ge "ann@example.com"', True),
        ('value lt "ann@example.com"', False),
        ('value le "ann@example.com"', True),
        ("primary eq true", True),
        ('primary eq "True"', True),
        ("primary ne true", False),
        ("primary eq false", False),
        ("primary pr", True),
        ("display pr", False),
        ("display eq null", True),
        ("display ne null", False),
        ("type ne null", True),
        ('display eq "x"', False),
        ('display ne "x"', True),
        ('display co "x"', False),
        ('display gt "x"', False),
        ('not (display eq "x")', True),
        ('type eq "work" and primary eq true', True),
        ('type eq "home" or primary eq true', True),
        ('type eq "home" and primary eq true or value pr', True),
        ('type eq "home" and (primary eq true or value pr)', False),
        ('kind eq "x"', False),
        ('not (kind eq "x")', True),
    ],
)
def test_an_element_fulfils_a_filter(text: str, expected: bool) -> None:
    path = paths.parse(f"emails[{text}]", USERS)

    assert path.filter is not None
    assert holds(path.filter, WORK) is expected


def test_a_boolean_that_is_not_there_is_false() -> None:
    path = paths.parse("emails[primary eq false]", USERS)

    assert path.filter is not None
    assert holds(path.filter, {"value": "a"})
    assert not holds(path.filter, {"value": "a", "primary": True})


def test_values_of_case_exact_attributes_are_compared_exactly() -> None:
    path = paths.parse('photos[value eq "https://x/A"]', USERS)

    assert path.filter is not None
    assert holds(path.filter, {"value": "https://x/A"})
    assert not holds(path.filter, {"value": "https://x/a"})


# Paths of PATCH operations.


@pytest.mark.parametrize(
    ("text", "key", "sub", "chosen"),
    [
        ("title", "title", None, None),
        (" Title ", "title", None, None),
        (f"{CORE}:title", "title", None, None),
        (f"{CORE.upper()}:TITLE", "title", None, None),
        (f"{CORE}.title", "title", None, None),
        ("name.givenName", "name", "givenName", None),
        (f"{CORE}:name.givenName", "name", "givenName", None),
        ("emails", "emails", None, None),
        ("emails.value", "emails", "value", None),
        ('emails[type eq "work"]', "emails", None, "type eq 'work'"),
        ('emails[type eq "work"].value', "emails", "value", "type eq 'work'"),
        ('EMAILS[TYPE EQ "work"].VALUE', "emails", "value", "type eq 'work'"),
        (f'{CORE}:emails[type eq "work"].value', "emails", "value", "type eq 'work'"),
        ('emails[type eq "a]b[c.d"].value', "emails", "value", "type eq 'a]b[c.d'"),
        (f"{ENTERPRISE}:manager", f"{ENTERPRISE}:manager", None, None),
        (f"{ENTERPRISE}:manager.value", f"{ENTERPRISE}:manager", "value", None),
        ("manager.$ref", f"{ENTERPRISE}:manager", "$ref", None),
        ('manager[value eq "1"]', f"{ENTERPRISE}:manager", None, f"{ENTERPRISE}:manager.value eq '1'"),
    ],
)
def test_a_path_names_an_attribute_its_elements_and_a_sub_attribute(
    text: str, key: str, sub: str | None, chosen: str | None
) -> None:
    path = paths.parse(text, USERS)

    assert path.target is not None
    assert path.target.key == key
    assert (path.sub.name if path.sub else None) == sub
    assert (shown(path.filter) if path.filter else None) == chosen


@pytest.mark.parametrize("urn", [CORE, ENTERPRISE, ROLLBOOK])
def test_a_path_may_be_the_urn_of_a_schema(urn: str) -> None:
    assert paths.parse(f" {urn.upper()} ", USERS).schema == urn


@pytest.mark.parametrize(
    "text",
    [
        "shoeSize",
        "name.nick",
        "emails.kind",
        'emails[type eq "work"].kind',
        'members[value eq "1"]',
        'members[value eq "1"].display',
        "urn:other:1.0:User:badge",
        f"{CORE}:",
        f"{CORE}:shoeSize",
    ],
)
def test_a_path_may_name_what_is_none_of_ours(text: str) -> None:
    path = paths.parse(text, USERS)

    assert (path.target, path.schema) == (None, None)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (" ", "At character 2: it ends too early."),
        ("[", "At character 1: an attribute's name is expected, not '['."),
        ("display name", "At character 9: 'name' is not expected here."),
        ('emails[type eq "work"', "At character 22: ']' is missing."),
        ("emails[type eq work].", "At character 21: a sub-attribute's name is expected behind the dot."),
        ("emails[type eq work].a b", "At character 24: 'b' is not expected here."),
        ('emails[type eq "work"]x', "At character 23: 'x' is not expected here."),
        ('emails[type eq "work].value', "A quoted value begins at character 16 and does not end."),
        ("emails[type]", "At character 12: an operator"),
        ('title[type eq "work"]', "At character 6: title has no sub-attributes to choose by."),
        ("emails[primary eq 5].value", "At character 19: primary is a boolean"),
        ("emails[" + " or ".join(["type pr"] * 11) + "]", "At character 118: there are more than 10 terms."),
        ("/emails/0", "At character 1: an attribute's name is expected, not '/emails/0'."),
        ("e" * 8_001, "This is 8001 characters long; 8000 are allowed."),
    ],
)
def test_a_path_that_is_not_understood_is_refused_at_its_place(text: str, detail: str) -> None:
    with pytest.raises(InvalidPath) as refused:
        paths.parse(text, USERS)
    assert refused.value.detail.startswith(detail)
    assert refused.value.scim_type == "invalidPath"


# Whatever the text.

WORDS = "userName emails type active meta.created manager name .value eq ne co gt pr and or not true null 5"
PIECES = st.sampled_from([*WORDS.split(), *':[]()"\\\0 ', '"work"', '"True"', CORE])
TEXTS = st.text(max_size=40) | st.lists(PIECES, max_size=14).map(" ".join) | st.lists(PIECES, max_size=14).map("".join)


@how(deadline=None)
@example("userName eq \ud800")
@example('userName eq "\ud800"')
@example('"\\\n"')
@for_all(TEXTS)
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        found = parse(text, USERS)
    except InvalidFilter:
        return
    assert shown(found)
    assert "\0" not in shown(found)


@how(deadline=None)
@for_all(TEXTS, st.dictionaries(st.sampled_from(["value", "type", "primary"]), st.booleans() | st.text(max_size=3)))
def test_any_text_is_a_path_whose_filter_can_be_asked_or_refused(text: str, element: dict[str, Any]) -> None:
    try:
        path = paths.parse(text, USERS)
    except InvalidPath:
        return
    assert path.filter is None or holds(path.filter, element) in {True, False}


@pytest.mark.parametrize(
    "text",
    [
        "title pr" + " " * 7_992,
        " " * 8_000,
        '"' + '\\"' * 3_999,
        'title eq "' + "\\\\" * 3_990,
        "(" * 8_000,
        "emails[" * 1_142,
        "not(" * 2_000,
        "." * 8_000,
        "a." * 4_000,
        " or ".join(['emails.value co "x"'] * 300),
    ],
    ids=lambda text: text[:12],
)
def test_no_filter_takes_long_to_understand(text: str) -> None:
    begun = process_time()
    for _ in range(10):
        with suppress(InvalidFilter):
            parse(text, USERS)
    assert process_time() - begun < 0.5


@pytest.mark.parametrize(
    ("text", "quirks"),
    [
        ('userName eq "ann" and active eq true and title pr', []),
        ("externalId eq jyoung", [Quirk.UNQUOTED]),
        ("userName eq 5", [Quirk.UNQUOTED]),
        ("userName eq true", [Quirk.UNQUOTED]),
        ("active eq True", [Quirk.UNQUOTED]),
        ('active eq "True"', [Quirk.QUOTED_BOOLEAN]),
        ('roles[primary eq "true"]', [Quirk.QUOTED_BOOLEAN]),
        ('emails[type eq "work"].value eq "x"', [Quirk.BEHIND_BRACKETS]),
        ('meta.created gt "2026-11-23"', [Quirk.NO_ZONE]),
        ('manager eq "1"', [f"{ENTERPRISE}:manager: named without its schema's URN"]),
        (f'{CORE}.role eq "x"', ["role: a dot for the colon behind the schema's URN"]),
    ],
)
def test_what_is_no_scim_in_a_filter_is_named(text: str, quirks: list[str]) -> None:
    found: list[str] = []
    parse(text, USERS, found)

    assert found == quirks
