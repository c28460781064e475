"""Vault passwords are found where Ansible finds them."""

import getpass
from pathlib import Path

import pytest

from fleet.errors import VaultError
from fleet.inventory.passwords import read_passwords
from fleet.inventory.vault import VaultPassword, encrypt
from fleet.secret import Secret


def found(**options: object) -> list[tuple[str, str]]:
    given = {"environ": {}, **options}
    return [(each.label, each.password.reveal()) for each in read_passwords(**given)]  # type: ignore[arg-type]  # as a caller gives them


def test_the_identities_of_the_environment_come_first_its_file_last(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / name).write_text(f"  {name} password \n")
    environ = {"ANSIBLE_VAULT_IDENTITY_LIST": f"one@{tmp_path}/a", "ANSIBLE_VAULT_PASSWORD_FILE": f"{tmp_path}/d"}
    assert found(ids=[f"two@{tmp_path}/b"], files=[f"{tmp_path}/c"], environ=environ) == [
        ("one", "a password"),
        ("two", "b password"),
        ("default", "c password"),
        ("default", "d password"),
    ]


def test_the_environment_may_hold_the_password_itself() -> None:
    assert found(environ={"FLEET_VAULT_PASSWORD": "pw"}) == [("default", "pw")]


def test_a_script_is_run_and_a_client_is_told_the_label(tmp_path: Path) -> None:
    script, client = tmp_path / "plain.sh", tmp_path / "vault-client.sh"
    script.write_text("#!/bin/sh\necho plain $#\n")
    client.write_text('#!/bin/sh\necho "$@"\n')
    for path in (script, client):
        path.chmod(0o755)
    assert found(ids=[f"team@{script}", f"team@{client}"]) == [("team", "plain 0"), ("team", "--vault-id team")]


def test_a_script_that_fails_is_an_error(tmp_path: Path) -> None:
    script = tmp_path / "fails"
    script.write_text("#!/bin/sh\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(VaultError, match="ended with 3"):
        found(files=[str(script)])


def test_a_password_file_may_be_encrypted_with_the_password_before_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("first")
    (tmp_path / "b").write_text(encrypt(b"second\n", VaultPassword(Secret("first"))))
    assert found(files=[f"{tmp_path}/a", f"{tmp_path}/b"])[1] == ("default", "second")


def test_one_missing_file_is_no_error_while_another_password_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("pw")
    assert found(files=["/nowhere", f"{tmp_path}/a"]) == [("default", "pw")]
    with pytest.raises(VaultError, match="no such file"):
        found(files=["/nowhere"])


def test_an_empty_password_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("\n")
    with pytest.raises(VaultError, match="empty"):
        found(files=[f"{tmp_path}/a"])


def test_a_prompt_asks_by_the_label_and_twice_to_be_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return "typed"

    monkeypatch.setattr(getpass, "getpass", answer)
    assert found(ids=["team@prompt"], confirm=True) == [("team", "typed")]
    assert asked == ["Vault password (team): ", "Once more: "]


def test_two_different_answers_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["one", "other"])
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: next(answers))
    with pytest.raises(VaultError, match="differ"):
        found(ids=["prompt"], confirm=True)
