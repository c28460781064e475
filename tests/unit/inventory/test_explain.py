"""Where a value comes from and what it beat."""

from pathlib import Path

import pytest

from fleet.errors import UsageError
from fleet.inventory import Host, VaultPassword, load
from fleet.inventory.explain import explain
from fleet.inventory.vault import encrypt
from fleet.secret import Secret

PASSWORD = VaultPassword(Secret("pw"))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "hosts").write_text(
        "[web]\nn1 port=1 ansible_password=hunter22\n[web:vars]\nport=2\nurl=http://{{ host }}:{{ port }}\n"
    )
    (tmp_path / "group_vars/all.yml").write_text("port: 3\nargs: {tp: 1}\nhost: h\n")
    (tmp_path / "group_vars/web.yml").write_text("args:\n  tp: 2\n  pp: 1\nbad: '{{ nothing }}'\n")
    (tmp_path / "host_vars/n1.yml").write_text(encrypt(b"token: t0ps3cret\n", PASSWORD))
    return load([tmp_path / "hosts"], passwords=[PASSWORD], playbook_dir=tmp_path).host("n1")


def told(host: Host, wanted: str) -> list[str]:
    directory = str(host.origin("port")).rpartition("/")[0]
    return [str(each).replace(f"{directory}/", "") for each in explain(host, wanted)]


def test_the_place_that_counts_comes_first_and_then_what_it_beat(host: Host) -> None:
    told_of_port = """\
n1: port = 1
  from hosts:2:4 (host n1)
  beat group_vars/all.yml:1:1 (group all): 3
  beat hosts:4:1 (group web): 2"""
    assert told(host, "port") == [told_of_port]


def test_a_reference_is_shown_as_written_and_as_resolved(host: Host) -> None:
    assert told(host, "url") == ['n1: url = "http://h:1"\n  from hosts:5:1 (group web): "http://{{ host }}:{{ port }}"']


def test_a_path_leads_into_a_value(host: Host) -> None:
    assert told(host, "args.tp") == [
        "n1: args.tp = 2\n  from group_vars/web.yml:2:3 (group web)\n  beat group_vars/all.yml:2:8 (group all): 1"
    ]


def test_a_glob_explains_several(host: Host) -> None:
    assert [each.variable for each in explain(host, "*o*t")] == ["host", "port"]


def test_secrets_are_masked(host: Host) -> None:
    everything = str([(each.as_json(), str(each)) for each in explain(host, "*")])
    assert "t0ps3cret" not in everything
    assert "hunter22" not in everything
    assert told(host, "token") == ['n1: token = "********"\n  from host_vars/n1.yml:1:1 (host n1)']


def test_what_can_t_be_resolved_says_why(host: Host) -> None:
    (explanation,) = explain(host, "bad")
    assert "'nothing' is undefined" in explanation.error
    assert explanation.as_json()["error"] == explanation.error


def test_the_unknown_gives_nothing_and_nonsense_is_wrong_use(host: Host) -> None:
    assert not [*explain(host, "nothing")]
    assert not [*explain(host, "args.nothing")]
    with pytest.raises(UsageError):
        [*explain(host, "args..tp")]
