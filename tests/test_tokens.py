"""A token's text: it names its tenant, tells a typo, and one secret has one text."""

import hashlib
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import settings as how
from hypothesis import strategies as st

from engine.tokens import LENGTH, PREFIX, digest, read, write

TENANT = UUID("0190d3f1-2f6e-7c3a-8f5e-1a2b3c4d5e6f")
SECRET = bytes(range(32))
TEXT = write(TENANT, SECRET)


def test_a_token_names_its_tenant_and_the_digest_of_its_secret() -> None:
    assert read(TEXT) == (TENANT, hashlib.sha256(SECRET).hexdigest())
    assert digest(SECRET) == hashlib.sha256(SECRET).hexdigest()


def test_the_text_of_a_token_is_the_same_for_ever() -> None:
    assert TEXT == "rb_aginh4jpnz6dvd26divtytk6n4aacaqdaqcqmbyibefawdanbyhraeiscmkbkfqxdamrugy4dupb7ejep3yq"


def test_a_token_is_recognisable_and_short_enough_for_entra() -> None:
    assert len(TEXT) == LENGTH == 87
    assert TEXT.startswith(PREFIX)
    assert TEXT[3:].isalnum()
    assert TEXT.lower() == TEXT


def test_a_typo_anywhere_is_told() -> None:
    for place, right in enumerate(TEXT):
        for wrong in "abcdefghijklmnopqrstuvwxyz234567_ ıßA":
            if wrong != right:
                assert read(TEXT[:place] + wrong + TEXT[place + 1 :]) is None


@pytest.mark.parametrize(
    "text",
    ["", "rb_", TEXT[:-1], TEXT + "a", TEXT.upper(), " " + TEXT, TEXT + "\n", "xx_" + TEXT[3:], "rb_" + "=" * 84],
)
def test_what_has_not_the_form_of_a_token_is_none(text: str) -> None:
    assert read(text) is None


@how(deadline=None)
@for_all(
    st.text(max_size=100) | st.text("abcdefghijklmnopqrstuvwxyz234567ß", min_size=84, max_size=84).map(PREFIX.__add__)
)
def test_any_text_is_a_token_or_none(text: str) -> None:
    assert read(text) is None


@how(deadline=None)
@for_all(st.uuids(), st.binary(min_size=32, max_size=32))
def test_what_is_written_is_read(tenant_id: UUID, secret: bytes) -> None:
    assert read(write(tenant_id, secret)) == (tenant_id, digest(secret))
