"""The verbs inventory and secret, as they are typed."""

import json
from pathlib import Path

import pytest
from invoke.collection import Collection

from fleet.cli import inventory, secret
from fleet.cli.program import Program
from fleet.inventory.vault import VaultPassword, encrypt
from fleet.secret import Secret


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "ANSIBLE_VAULT_PASSWORD_FILE",
        "ANSIBLE_VAULT_IDENTITY_LIST",
        "FLEET_VAULT_PASSWORD",
        "FLEET_INVENTORY",
    ):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "hosts").write_text("[web]\nn[1:3] ansible_password=hunter22\n[web:vars]\na=1\n")
    (tmp_path / "pw").write_text("open sesame\n")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/web.yml").write_text(encrypt(b"token: t0ps3cret\n", VaultPassword(Secret("open sesame"))))
    return tmp_path


class Shell:
    """Runs verbs and keeps what they said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, words: str) -> int:
        verbs = Collection()
        verbs.add_collection(inventory.collection)
        verbs.add_collection(secret.collection)
        try:
            Program(namespace=verbs, name="inv").run(["inv", *words.split()], exit=False)
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        self.out, self.err = self._capsys.readouterr()
        return status


@pytest.fixture
def inv(here: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


PW = "--vault-password-file pw"


def test_names_come_one_a_line_or_as_a_json_list(inv: Shell) -> None:
    assert inv("inventory --inventory hosts --hosts web[1:]") == 0
    assert inv.out == "n2\nn3\n"
    assert inv("inventory --inventory hosts --hosts web[1:] --limit !n3 --json") == 0
    assert json.loads(inv.out) == ["n2"]


def test_a_pattern_without_a_match_prints_an_empty_list_and_warns(inv: Shell) -> None:
    assert inv("inventory --inventory hosts --hosts nobody --json") == 0
    assert json.loads(inv.out) == []
    assert "nobody" in inv.err


def test_list_gives_ansible_s_answer_in_clear_and_says_so(inv: Shell) -> None:
    assert inv(f"inventory --inventory hosts --list {PW}") == 0
    said = json.loads(inv.out)
    assert said["_meta"]["hostvars"]["n1"] == {"a": 1, "ansible_password": "hunter22", "token": "t0ps3cret"}
    assert said["web"] == {"hosts": ["n1", "n2", "n3"]}
    assert "--mask" in inv.err
    assert "group_vars/web.yml" in inv.err


def test_mask_hides_what_is_secret(inv: Shell) -> None:
    for what in ("--list", "--host n1"):
        assert inv(f"inventory --inventory hosts {what} --mask {PW}") == 0
        assert "t0ps3cret" not in inv.out + inv.err
        assert "hunter22" not in inv.out + inv.err
        assert '"a": 1' in inv.out


def test_list_keeps_to_the_hosts_that_are_asked_for(inv: Shell) -> None:
    assert inv(f"inventory --inventory hosts --list --hosts n2 {PW}") == 0
    said = json.loads(inv.out)
    assert list(said["_meta"]["hostvars"]) == said["web"]["hosts"] == ["n2"]


def test_the_tree_is_drawn_as_ansible_draws_it(inv: Shell) -> None:
    assert inv("inventory --inventory hosts --graph") == 0
    assert inv.out == "@all:\n  |--@ungrouped:\n  |--@web:\n  |  |--n1\n  |  |--n2\n  |  |--n3\n"
    assert inv("inventory --inventory hosts --graph --hosts web") == 0
    assert inv.out.startswith("@web:\n  |--n1\n")
    assert inv("inventory --inventory hosts --graph --hosts n1") == 2


def test_explain_says_where_a_value_comes_from(inv: Shell) -> None:
    assert inv(f"inventory --inventory hosts --explain a --hosts n1 {PW}") == 0
    assert inv.out == "n1: a = 1\n  from hosts:4:1 (group web)\n"
    assert inv(f"inventory --inventory hosts --explain token --json --hosts n1 {PW}") == 0
    assert json.loads(inv.out)["n1"]["token"]["value"] == "********"
    assert inv(f"inventory --inventory hosts --explain nothing {PW}") == 2


def test_explain_shows_what_an_instance_gets_in_the_end(inv: Shell, here: Path) -> None:
    (here / "host_vars").mkdir()
    (here / "host_vars/n1.yml").write_text(
        "vllm_args: {seed: 1, tp: 2}\ninstances: [{name: m, model: x/y, args: {seed: 5}}]\nimage: {ref: 'a/b:v0.8.2'}\n"
    )
    assert inv(f"inventory --inventory hosts --explain vllm_args --hosts n1 {PW}") == 0
    assert 'together m.args: {"seed": 5, "tp": 2}' in inv.out, inv.err


@pytest.mark.parametrize(
    "words",
    [
        "--inventory nowhere",
        "--inventory hosts --list",
        "--inventory hosts --list --graph",
        "--inventory hosts --host web",
        "--inventory hosts --hosts web[9]",
        "--inventory hosts --hosts ~(,n1",
        "--inventory hosts --host n1 --vault-password-file nowhere",
    ],
)
def test_wrong_use_ends_with_2_and_words(inv: Shell, words: str) -> None:
    assert inv(f"inventory {words}") == 2
    assert inv.err.startswith("error: ")
    assert inv.out == ""
    assert inv(f"inventory {words} --json") == 2
    assert json.loads(inv.out)["error"]["message"]


def test_check_names_everything_at_once(inv: Shell, here: Path) -> None:
    (here / "hosts").write_text("[web]\nn1 alone\n[web:vars]\nnothing\n")
    assert inv("inventory.check --inventory hosts --json") == 2
    said = json.loads(inv.out)
    assert [error["where"] for error in said["errors"]] == ["hosts:2:1", "hosts:4:1"]
    assert said["error"]["kind"] == "Findings"
    (here / "hosts").write_text("n1\n")
    assert inv("inventory.check --inventory hosts") == 0
    assert "no group is called 'web'" in inv.err
    assert "the settings are judged by ./inv plan" in inv.err


def test_secrets_go_round_and_never_through_an_argument(inv: Shell, here: Path) -> None:
    (here / "vault.yml").write_text("a: t0ps3cret\n")
    assert inv(f"secret.encrypt vault.yml {PW}") == 0
    assert (here / "vault.yml").read_text().startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    (here / "new").write_text("another\n")
    assert inv(f"secret.rekey vault.yml --also group_vars/web.yml --new-vault-id team@new {PW}") == 0
    assert inv("secret.decrypt vault.yml --vault-id team@new") == 0
    assert inv.out == "a: t0ps3cret\n"
    assert inv(f"secret.decrypt vault.yml {PW}") == 2
    assert "t0ps3cret" not in inv.err


def test_edit_takes_the_editor_of_the_environment(inv: Shell, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "sed -i s/t0ps3cret/changed/")
    assert inv(f"secret.edit group_vars/web.yml {PW}") == 0
    assert inv(f"secret.decrypt group_vars/web.yml {PW}") == 0
    assert inv.out == "token: changed\n"
