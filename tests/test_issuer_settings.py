"""What the environment says of an issuer of identities, and what is wrong with it."""

from pathlib import Path

import pytest

from ops.issuer import issuer_settings
from ops.trouble import Trouble

WHOLE = {
    "ROLLBOOK_OIDC_ISSUER": "https://login.microsoftonline.com/0a/v2.0",
    "ROLLBOOK_OIDC_CLIENT_ID": "client",
    "ROLLBOOK_OIDC_CLIENT_SECRET": "s3cret",
    "ROLLBOOK_OIDC_TENANT": "Contoso Ltd",
    "ROLLBOOK_OIDC_OWNER": "console-owner",
    "ROLLBOOK_OIDC_AUDITOR": "console-auditor",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_nothing_is_needed_where_there_is_no_issuer() -> None:
    assert issuer_settings() is None


def test_the_claim_and_the_scope_need_not_be_named(environment: pytest.MonkeyPatch) -> None:
    found = issuer_settings()
    assert found is not None
    assert (found.claim, found.scope, found.name) == ("roles", "openid", "Microsoft")
    assert found.roles == [("console-owner", "owner"), ("console-auditor", "auditor")]
    environment.setenv("ROLLBOOK_OIDC_CLAIM", "groups")
    environment.setenv("ROLLBOOK_OIDC_SCOPE", "openid groups")
    environment.setenv("ROLLBOOK_OIDC_ISSUER", "http://localhost:5000/")
    found = issuer_settings()
    assert found is not None
    assert (found.claim, found.scope, found.name) == ("groups", "openid groups", "localhost")


def test_the_secret_may_be_in_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from the file\n")
    environment.delenv("ROLLBOOK_OIDC_CLIENT_SECRET")
    environment.setenv("ROLLBOOK_OIDC_CLIENT_SECRET_FILE", str(file))
    found = issuer_settings()
    assert found is not None
    assert found.client_secret == "from the file"
    file.write_text(" \n")
    with pytest.raises(Trouble, match="is empty"):
        issuer_settings()
    file.unlink()
    with pytest.raises(Trouble, match="cannot be read"):
        issuer_settings()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ROLLBOOK_OIDC_ISSUER": ""}, "ROLLBOOK_OIDC_CLIENT_ID is set without ROLLBOOK_OIDC_ISSUER"),
        ({"ROLLBOOK_OIDC_ISSUER": "http://people.example.com"}, "takes the https:// address"),
        ({"ROLLBOOK_OIDC_ISSUER": "login.microsoftonline.com"}, "takes the https:// address"),
        ({"ROLLBOOK_OIDC_ISSUER": "https://[/"}, "takes the https:// address"),
        ({"ROLLBOOK_OIDC_CLIENT_ID": " "}, "ROLLBOOK_OIDC_CLIENT_ID is missing"),
        ({"ROLLBOOK_OIDC_TENANT": ""}, "ROLLBOOK_OIDC_TENANT is missing"),
        ({"ROLLBOOK_OIDC_CLIENT_SECRET": ""}, "ROLLBOOK_OIDC_CLIENT_SECRET is missing, or"),
        ({"ROLLBOOK_OIDC_CLIENT_SECRET_FILE": "/there/is/none"}, "are both set"),
        ({"ROLLBOOK_OIDC_OWNER": "", "ROLLBOOK_OIDC_AUDITOR": ""}, "nobody gets a role"),
    ],
)
def test_what_is_missing_or_wrong_is_told_and_the_secret_is_not(
    environment: pytest.MonkeyPatch, changed: dict[str, str], message: str
) -> None:
    for name, value in changed.items():
        environment.setenv(name, value)
    with pytest.raises(Trouble, match=message) as told:
        issuer_settings()
    assert "s3cret" not in str(told.value)
