"""Encrypted files: nothing in clear on a disk, nothing lost."""

import shlex
import sys
from pathlib import Path

import pytest

from fleet.errors import UsageError, VaultError
from fleet.inventory.values import Line
from fleet.inventory.vault import Vault, VaultPassword, encrypt
from fleet.inventory.vault_files import chosen, decrypt_file, edit_file, encrypt_file, inline, rekey_files
from fleet.secret import Secret

ONE = VaultPassword(Secret("one"))
TWO = VaultPassword(Secret("two"), "team")
VAULT = Vault((ONE,))


def editor(code: str) -> str:
    """A command line that runs ``code`` on the file, as ``path``."""
    program = f"import sys, os, pathlib; path = pathlib.Path(sys.argv[1]); {code}"
    return shlex.join([sys.executable, "-c", program])


def test_a_file_is_encrypted_in_place_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "vault.yml"
    path.write_text("a: 1\n")
    path.chmod(0o640)
    encrypt_file(path, ONE)
    assert decrypt_file(path, VAULT) == b"a: 1\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_what_lay_in_clear_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "vault.yml"
    path.write_text("token: t0ps3cret\n")
    with path.open("rb") as old:
        encrypt_file(path, ONE)
        assert b"t0ps3cret" not in old.read()


def test_another_name_of_the_same_file_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "vault.yml"
    path.write_text("a: 1\n")
    (tmp_path / "link").hardlink_to(path)
    encrypt_file(path, ONE)
    assert (tmp_path / "link").read_text() == "a: 1\n"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("a: 1\n")
    (tmp_path / "link").symlink_to("real")
    encrypt_file(tmp_path / "link", ONE)
    assert (tmp_path / "link").is_symlink()
    assert decrypt_file(tmp_path / "real", VAULT) == b"a: 1\n"


def test_encrypting_twice_and_decrypting_plain_text_are_wrong_use(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("a: 1\n")
    with pytest.raises(UsageError, match="isn't encrypted"):
        decrypt_file(path, VAULT)
    encrypt_file(path, ONE)
    with pytest.raises(UsageError, match="already"):
        encrypt_file(path, ONE)
    with pytest.raises(UsageError, match="no such file"):
        decrypt_file(tmp_path / "gone", VAULT)


def test_all_files_get_the_new_password_or_none(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text(encrypt(b"a: 1", ONE))
    bad.write_text(encrypt(b"a: 1", TWO))
    before = good.read_text()
    with pytest.raises(VaultError):
        rekey_files([good, bad], VAULT, TWO)
    assert good.read_text() == before
    rekey_files([good], VAULT, TWO)
    assert Vault((TWO,)).open(good.read_bytes(), Line("x"))[2] == "team"


def test_the_editor_sees_the_text_on_a_private_file_in_memory(tmp_path: Path) -> None:
    path, seen = tmp_path / "vault.yml", tmp_path / "seen"
    path.write_text(encrypt(b"a: 1\n", TWO))
    look = (
        "modes = [each.stat().st_mode & 0o777 for each in (path, path.parent)];"
        f"open({str(seen)!r}, 'w').write(f'{{path}} {{modes[0]:o}} {{modes[1]:o}}');"
        "path.write_text(path.read_text().replace('1', '2'))"
    )
    assert edit_file(path, Vault((ONE, TWO)), editor=editor(look))
    name, file_mode, directory_mode = seen.read_text().split()
    assert (file_mode, directory_mode) == ("600", "700")
    assert name.endswith(".yml"), "so that the editor knows the language"
    assert not Path(name).parent.exists(), "nothing is left behind"
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    nearest = max((fields for fields in mounts if name.startswith(fields[1])), key=lambda fields: len(fields[1]))
    assert nearest[2] in ("tmpfs", "ramfs")
    plaintext, _, label = Vault((TWO,)).open(path.read_bytes(), Line("x"))
    assert (plaintext, label) == (b"a: 2\n", "team"), "the same password and label as before"


def test_an_unchanged_text_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "vault.yml"
    path.write_text(encrypt(b"a: 1\n", ONE))
    before = path.read_bytes()
    assert not edit_file(path, VAULT, editor=editor("pass"))
    assert path.read_bytes() == before


def test_an_editor_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "vault.yml"
    path.write_text(encrypt(b"a: 1\n", ONE))
    with pytest.raises(VaultError, match="ended with 3"):
        edit_file(path, VAULT, editor=editor("path.write_text('x'); sys.exit(3)"))
    assert decrypt_file(path, VAULT) == b"a: 1\n"
    with pytest.raises(UsageError, match="can't be run"):
        edit_file(path, VAULT, editor="/no/such/editor")


def test_a_file_changed_meanwhile_is_kept_and_so_is_the_edited_text(tmp_path: Path) -> None:
    path = tmp_path / "vault.yml"
    path.write_text(encrypt(b"a: 1\n", ONE))
    other = encrypt(b"a: theirs\n", ONE)
    meddle = f"open({str(path)!r}, 'w').write({other!r}); path.write_text('a: mine\\n')"
    with pytest.raises(VaultError, match="meanwhile") as caught:
        edit_file(path, VAULT, editor=editor(meddle))
    assert decrypt_file(path, VAULT) == b"a: theirs\n"
    assert decrypt_file(tmp_path / "vault.yml.edited", VAULT) == b"a: mine\n"
    assert "vault.yml.edited" in caught.value.hint


def test_a_new_file_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "new.yml"
    assert edit_file(path, VAULT, editor=editor("path.write_text('a: 1\\n')"))
    assert decrypt_file(path, VAULT) == b"a: 1\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_password_to_encrypt_with_is_the_first_or_the_one_named() -> None:
    assert chosen([ONE, TWO]) == ONE
    assert chosen([ONE, TWO], "team") == TWO
    with pytest.raises(UsageError, match="'nobody'"):
        chosen([ONE], "nobody")
    with pytest.raises(VaultError):
        chosen([])


def test_an_inline_value_can_be_pasted_into_yaml(tmp_path: Path) -> None:
    from fleet.inventory import load

    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/all.yml").write_text(inline("token", b"t0ps3cret", ONE) + "\nother: 1\n")
    (tmp_path / "hosts").write_text("n1\n")
    host = load([tmp_path / "hosts"], passwords=[ONE]).host("n1")
    assert host.resolve("token") == Secret("t0ps3cret")
    assert host.resolve("other") == 1
