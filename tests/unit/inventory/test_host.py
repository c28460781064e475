"""What the rest of the program may rely on of a host."""

from pathlib import Path

import pytest

from fleet.errors import InventoryError, TemplateError, VaultError
from fleet.inventory import Host, Inventory, VaultPassword, load
from fleet.inventory.vault import encrypt
from fleet.secret import Secret

PASSWORD = VaultPassword(Secret("open sesame"))


def inventory(tmp_path: Path, text: str, **files: str) -> Inventory:
    """An inventory of one YAML source; ``files`` are named like ``group_vars__web``."""
    source = tmp_path / "hosts.yml"
    source.write_text(text)
    for name, content in files.items():
        path = tmp_path / f"{name.replace('__', '/')}.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return load([source], passwords=[PASSWORD], playbook_dir=tmp_path)


def one_host(tmp_path: Path, variables: str, **files: str) -> Host:
    return inventory(tmp_path, f"all: {{hosts: {{n1: {variables}}}}}", **files).host("n1")


def inline_vault(plaintext: str, indent: str = "  ") -> str:
    return "!vault |\n" + "".join(f"{indent}{line}\n" for line in encrypt(plaintext.encode(), PASSWORD).splitlines())


def test_group_names_are_sorted_and_leave_out_all(tmp_path: Path) -> None:
    host = inventory(tmp_path, "z: {children: {web: {hosts: {n1: }}}}\na: {hosts: {n1: }}").host("n1")
    assert host.groups == ("a", "web", "z")


def test_variables_are_raw_until_resolved(tmp_path: Path) -> None:
    host = one_host(tmp_path, "{port: 8000, url: 'http://{{ inventory_hostname }}:{{ port }}'}")
    assert host.variables["url"] == "http://{{ inventory_hostname }}:{{ port }}"
    assert host.resolve("url") == "http://n1:8000"


def test_one_reference_alone_keeps_the_type_of_what_it_names(tmp_path: Path) -> None:
    host = one_host(tmp_path, "{ports: [1, 2], all_of_them: '{{ ports }}', first: '{{ ports[0] }}'}")
    assert host.resolve("all_of_them") == [1, 2]
    assert host.resolve("first") == 1


def test_references_inside_lists_and_mappings_are_resolved(tmp_path: Path) -> None:
    host = one_host(tmp_path, "{model: m, instances: [{name: a, args: {served: '{{ model }}'}}]}")
    assert host.resolve("instances") == [{"name": "a", "args": {"served": "m"}}]


def test_a_mapping_may_refer_to_its_own_members(tmp_path: Path) -> None:
    assert one_host(tmp_path, "{a: {x: 1, y: '{{ a.x }}'}}").resolve("a") == {"x": 1, "y": 1}


def test_a_circle_of_references_is_named_with_its_place(tmp_path: Path) -> None:
    host = one_host(tmp_path, "{a: '{{ b }}', b: '{{ c }}', c: '{{ a }}'}")
    with pytest.raises(TemplateError, match="a → b → c → a") as caught:
        host.resolve("a")
    assert caught.value.where == f"{tmp_path}/hosts.yml:1:20"


def test_an_unknown_name_is_an_error_with_the_nearest_right_one(tmp_path: Path) -> None:
    with pytest.raises(TemplateError) as caught:
        one_host(tmp_path, "{model_name: m, x: '{{ model_nmae }}'}").resolve("x")
    assert "model_nmae" in caught.value.message
    assert "model_name" in caught.value.hint


def test_other_hosts_and_groups_can_be_asked(tmp_path: Path) -> None:
    text = (
        "web: {hosts: {n1: {x: \"{{ hostvars['n2'].y }} {{ groups['web'] | join(',') }}\"}, n2: {y: '{{ z }}', z: 3}}}"
    )
    assert inventory(tmp_path, text).host("n1").resolve("x") == "3 n1,n2"


def test_a_lookup_is_an_error_only_when_it_is_used(tmp_path: Path) -> None:
    host = one_host(tmp_path, '{a: \'{{ lookup("env", "HOME") }}\', b: 1}')
    assert host.resolve("b") == 1
    with pytest.raises(TemplateError, match="lookup"):
        host.resolve("a")


def test_what_is_not_set_is_an_error(tmp_path: Path) -> None:
    host = one_host(tmp_path, "{a: 1}")
    assert not host.has("b")
    with pytest.raises(InventoryError, match="'b'"):
        host.resolve("b")


def test_an_inline_vault_value_resolves_to_a_secret(tmp_path: Path) -> None:
    text = f"all:\n hosts:\n  n1:\n vars:\n  token: {inline_vault('t0ps3cret', '    ')}\n  url: 'x-{{{{ token }}}}'"
    host = inventory(tmp_path, text).host("n1")
    assert host.resolve("token") == Secret("t0ps3cret")
    assert host.resolve("url") == Secret("x-t0ps3cret"), "what is rendered from a secret is one"


def test_everything_in_an_encrypted_file_is_secret(tmp_path: Path) -> None:
    content = encrypt(
        b"password: hunter22\npin: 123456\nnested: {list: [deep]}\nflag: true\nurl: '{{ user }}@x'\n", PASSWORD
    )
    host = one_host(tmp_path, "{user: me, copy: '{{ nested.list[0] }}!'}", group_vars__all=content)
    assert host.resolve("password") == Secret("hunter22")
    assert "123456" not in repr(host.resolve("pin"))
    assert host.resolve("nested") == {"list": [Secret("deep")]}
    assert host.resolve("flag") is True
    assert host.resolve("url") == Secret("me@x")
    assert host.resolve("copy") == Secret("deep!")
    assert "hunter22" not in repr(host)
    assert "hunter22" not in str(host.variables)


def test_without_a_password_the_error_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/all.yml").write_text(encrypt(b"a: 1", VaultPassword(Secret("other"))))
    with pytest.raises(VaultError) as caught:
        one_host(tmp_path, "")
    assert caught.value.where.endswith("group_vars/all.yml")


def test_the_place_of_a_value_is_its_file_line_and_column(tmp_path: Path) -> None:
    host = one_host(tmp_path, "{a: 1}", group_vars__all="x: 1\ninstances:\n  - name: a\n    args:\n      tp: 2\n")
    assert str(host.origin("instances")) == f"{tmp_path}/group_vars/all.yml:2:1"
    origin = host.origin("instances", 0, "args", "tp")
    assert (origin.line, origin.column, origin.text) == (5, 7, "tp: 2") if origin else False
    assert host.origin("nothing") is None


def test_a_place_inside_what_an_alias_or_a_merge_brought_is_found(tmp_path: Path) -> None:
    text = "base: &base\n  tp: 2\ncopy: *base\nmerged:\n  <<: *base\n  pp: 1\n"
    host = one_host(tmp_path, "", group_vars__all=text)
    assert str(host.origin("copy", "tp")).endswith(":2:3")
    assert str(host.origin("merged", "tp")).endswith(":2:3")
    assert str(host.origin("merged", "pp")).endswith(":6:3")


def test_the_connection_follows_ansible_names(tmp_path: Path) -> None:
    connection = one_host(
        tmp_path,
        "{ansible_host: 192.0.2.1, ansible_port: '{{ 2200 + 22 }}', ansible_user: ops, ansible_password: pw,"
        " ansible_become: yes, ansible_become_password: '{{ ansible_password }}',"
        " ansible_ssh_common_args: '-o ProxyJump=bastion -o StrictHostKeyChecking=no'}",
    ).connection()
    assert (connection.host, connection.port, connection.user) == ("192.0.2.1", 2222, "ops")
    assert connection.password == connection.become_password == Secret("pw")
    assert connection.become
    assert connection.become_user == "root"
    assert connection.proxy_jump == "bastion"


@pytest.mark.parametrize("variable", ["ansible_port: ssh", "ansible_become: maybe", "ansible_user: [a]"])
def test_a_connection_variable_of_the_wrong_kind_is_an_error_with_its_place(tmp_path: Path, variable: str) -> None:
    with pytest.raises(InventoryError) as caught:
        one_host(tmp_path, f"{{{variable}}}").connection()
    assert "hosts.yml:1:" in caught.value.where
    assert f"./inv inventory --explain {variable.partition(':')[0]} --hosts " in caught.value.hint
