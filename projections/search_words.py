"""Words by which people are searched: how they are made of what is known of somebody, and of what is asked."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from engine.schema import ENTERPRISE

LONGEST = 100  # characters of a word
MOST = 60  # words of a person
MOST_ASKED = 8

_BETWEEN = re.compile(r"\W+")
_KEYS = (
    "userName",
    "displayName",
    "name.formatted",
    "name.givenName",
    "name.familyName",
    "nickName",
    "externalId",
    "microsoftId",
    f"{ENTERPRISE}:employeeNumber",
)


def folded(text: str) -> str:
    """Without case and accents: who looks for Zoe finds Zoë."""
    spread = unicodedata.normalize("NFKD", text.casefold())
    return "".join(each for each in spread if not unicodedata.combining(each))


def lexemes(tenant_id: UUID, attributes: dict[str, Any]) -> list[str]:
    """The words of a person as the index has them: behind their tenant, so that a search reads its own tenant alone."""
    return [_of(tenant_id) + word for word in words_of(attributes)]


def _of(tenant_id: UUID) -> str:
    return f"{tenant_id.hex[:16]}/"


def words_of(attributes: dict[str, Any]) -> list[str]:
    """The words of a person: each name, address and id in its parts, and whole if it is one word."""
    texts = [str(attributes[key]) for key in _KEYS if attributes.get(key)]
    texts += [str(each["value"]) for each in attributes.get("emails") or () if each.get("value")]
    return list(dict.fromkeys(word for text in texts for word in _words(text)))[:MOST]


def _words(text: str) -> Iterator[str]:
    for whole in folded(text).split():
        yield whole[:LONGEST]
        yield from (part[:LONGEST] for part in _BETWEEN.split(whole) if part)


def query_of(tenant_id: UUID, text: str) -> str:
    """A search as a tsquery: each of its words is the beginning of one of the person's; empty if there is none."""
    asked = [word[:LONGEST] for word in folded(text).split()][:MOST_ASKED]
    return " & ".join(f"'{_of(tenant_id)}{_quoted(word)}':*" for word in asked)


def _quoted(word: str) -> str:
    """As the text of a tsquery has it within quotation marks."""
    return word.replace("\\", "\\\\").replace("'", "''")
