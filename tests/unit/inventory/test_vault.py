"""The vault format: readable by Ansible and the other way round; everything damaged is an error with its place."""

import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import VaultError
from fleet.inventory.values import Line
from fleet.inventory.vault import Vault, VaultPassword, encrypt, is_vault, parse
from fleet.secret import Secret

HERE = Line("group_vars/all.yml", 3, "x")
OURS = VaultPassword(Secret("open sesame"))
TEAM = VaultPassword(Secret("team's own"), "team")


@settings(deadline=None, max_examples=25)
@given(st.binary(max_size=200))
def test_what_was_encrypted_is_decrypted_again(plaintext: bytes) -> None:
    assert Vault((OURS,)).decrypt(encrypt(plaintext, OURS), HERE) == plaintext


def test_the_label_is_in_the_header_and_the_default_one_is_not() -> None:
    assert encrypt(b"x", OURS).startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    assert encrypt(b"x", TEAM).startswith("$ANSIBLE_VAULT;1.2;AES256;team\n")
    assert max(map(len, encrypt(b"x" * 500, OURS).splitlines())) == 80


def test_two_encryptions_of_the_same_differ() -> None:
    assert encrypt(b"x", OURS) != encrypt(b"x", OURS)


def test_the_password_with_the_label_is_tried_first_and_then_all_others() -> None:
    plaintext, password, label = Vault((OURS, TEAM)).open(encrypt(b"x", TEAM), HERE)
    assert (plaintext, password, label) == (b"x", TEAM, "team")
    renamed = VaultPassword(TEAM.password, "other")
    assert Vault((OURS, renamed)).decrypt(encrypt(b"x", TEAM), HERE) == b"x"


@pytest.mark.parametrize(
    ("vaulttext", "words"),
    [
        (encrypt(b"x", TEAM), "no password at hand fits"),
        (encrypt(b"x", OURS).replace("AES256", "AES128"), "unknown cipher 'AES128'"),
        (encrypt(b"x", OURS)[:-9], "damaged"),
        (encrypt(b"x", OURS).replace("3", "g"), "damaged"),
        ("$ANSIBLE_VAULT;1.1;AES256\n", "damaged"),
        ("$ANSIBLE_VAULT\n3132", "not a vault text"),
        ("", "not a vault text"),
    ],
)
def test_what_can_t_be_decrypted_is_an_error_with_its_place(vaulttext: str, words: str) -> None:
    with pytest.raises(VaultError, match=words) as caught:
        Vault((OURS,)).decrypt(vaulttext, HERE)
    assert caught.value.where == "group_vars/all.yml:3:1"
    assert caught.value.hint


def test_without_any_password_the_hint_says_how_to_give_one() -> None:
    with pytest.raises(VaultError) as caught:
        Vault().decrypt(encrypt(b"x", OURS), HERE)
    assert caught.value.hint.startswith("export ANSIBLE_VAULT_PASSWORD_FILE=")  # which every verb knows
    assert "inventory, inventory.check and secret.* also take --vault-password-file" in caught.value.hint


def test_a_changed_bit_is_noticed() -> None:
    envelope = parse(encrypt(b"some text", OURS), HERE)
    body = encrypt(b"some text", OURS).splitlines()
    body[-1] = body[-1][:-1] + ("0" if body[-1][-1] != "0" else "1")
    with pytest.raises(VaultError):
        Vault((OURS,)).decrypt("\n".join(body), HERE)
    assert len(envelope.salt) == 32


def test_only_plain_ascii_is_a_vault() -> None:
    assert is_vault(encrypt(b"x", OURS))
    assert not is_vault("$ANSIBLE_VAULT;1.1;AES256\nü")
    assert not is_vault(" $ANSIBLE_VAULT;1.1;AES256\n")


@pytest.fixture(scope="module")
def ansible_s() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("ansible.parsing.vault")


@pytest.mark.parametrize("password", [OURS, TEAM])
@pytest.mark.parametrize("plaintext", [b"", b"a: 1\n", "größe: 5\n".encode(), b"x" * 5_000])
def test_ansible_reads_ours_and_we_read_ansible_s(ansible_s: Any, password: VaultPassword, plaintext: bytes) -> None:
    secret = ansible_s.VaultSecret(password.password.reveal().encode())
    library = ansible_s.VaultLib([(password.label, secret)])
    assert library.decrypt(encrypt(plaintext, password)) == plaintext
    label = None if password.label == "default" else password.label
    theirs = library.encrypt(plaintext, secret, vault_id=label)
    assert Vault((password,)).decrypt(theirs, HERE) == plaintext
