"""An ansible.cfg is found where Ansible finds it; what isn't followed is said."""

from pathlib import Path

import pytest

from fleet.errors import InventoryError
from fleet.inventory import load
from fleet.inventory.ansible_cfg import read_config
from fleet.inventory.passwords import read_passwords


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ANSIBLE_CONFIG", raising=False)
    return tmp_path


def test_without_one_ansible_s_defaults_count() -> None:
    ignored = read_config({}).ignored
    for name in (".hidden", "group_vars", "x.bak", "y~", "notes.md", "old.cfg"):
        assert ignored.search(name)
    for name in ("hosts", "hosts.ini", "group_vars.yml", "10-web"):
        assert not ignored.search(name)


def test_what_a_directory_skips_can_be_set(here: Path) -> None:
    (here / "ansible.cfg").write_text(
        "[defaults]\ninventory_ignore_extensions = .ini, ~ ; a comment\n[inventory]\nignore_patterns = artifacts, ^x\n"
    )
    for name in ("a.ini", "artifacts", "xyz"):
        (here / f"inv/{name}").parent.mkdir(exist_ok=True)
        (here / f"inv/{name}").write_text("[broken\n")
    (here / "inv/hosts.cfg").write_text("n1\n")
    assert load(["inv"]).names() == ["n1"]


def test_the_environment_beats_the_file_and_names_the_file(here: Path) -> None:
    (here / "other.cfg").write_text("[defaults]\nvault_password_file = pw\ninventory_ignore_extensions = .a\n")
    environ = {"ANSIBLE_CONFIG": "other.cfg", "ANSIBLE_INVENTORY_IGNORE": ".b"}
    assert not read_config(environ).ignored.search("x.a")
    assert read_config(environ).ignored.search("x.b")
    (here / "pw").write_text("open sesame\n")
    assert [each.password.reveal() for each in read_passwords(environ=environ)] == ["open sesame"]


def test_settings_that_are_not_followed_are_named(here: Path) -> None:
    (here / "ansible.cfg").write_text("[defaults]\nhash_behaviour=merge\n")
    (here / "hosts").write_text("n1\n")
    assert any("hash_behaviour=merge isn't followed" in text for text in load(["hosts"]).warnings)


def test_one_that_anybody_may_write_is_not_trusted(here: Path) -> None:
    (here / "ansible.cfg").write_text("[defaults]\nvault_password_file = /evil\n")
    here.chmod(0o777)
    assert read_config({}).vault_password_file == ""


@pytest.mark.parametrize("text", ["no section\n", "[defaults]\ninventory_ignore_patterns = [\n"])
def test_a_broken_one_is_an_error(here: Path, text: str) -> None:
    (here / "ansible.cfg").write_text(text)
    with pytest.raises(InventoryError) as caught:
        read_config({})
    assert "ansible.cfg" in caught.value.where
