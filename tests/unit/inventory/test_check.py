"""All that is wrong, at once, with its place."""

from pathlib import Path

from fleet.inventory.check import check
from fleet.inventory.vault import VaultPassword, encrypt
from fleet.secret import Secret


def lay_out(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        path = directory / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    return directory / "hosts"


def checked(source: Path, used: str = "instances") -> tuple[list[str], list[str]]:
    errors, warnings = check([source], [used], passwords=[])
    shown = [f"{error.where}: {error.message}".replace(f"{source.parent}/", "") for error in errors]
    return shown, [text.replace(f"{source.parent}/", "") for text in warnings]


def test_nothing_is_wrong_with_what_is_right(tmp_path: Path) -> None:
    assert checked(lay_out(tmp_path, hosts="[web]\nn1\n", group_vars__web="a: 1\n")) == ([], [])


def test_every_broken_file_is_named_also_those_that_no_host_needs(tmp_path: Path) -> None:
    source = lay_out(
        tmp_path,
        hosts="[web]\nn1 ansible_port=ssh\n[empty]\n",
        group_vars__all="a: [1\n",
        group_vars__empty="- 1\n",
        host_vars__n1=encrypt(b"a: 1", VaultPassword(Secret("x"))),
    )
    errors, _ = checked(source)
    assert [error.partition(":")[0] for error in errors] == ["group_vars/all", "group_vars/empty"]
    (tmp_path / "group_vars/all").unlink()
    errors, _ = checked(source)
    assert [error.partition(":")[0] for error in errors] == ["host_vars/n1", "group_vars/empty"]
    (tmp_path / "host_vars/n1").unlink()
    errors, _ = checked(source)
    assert "hosts:2:4: ansible_port of n1 must be a whole number" in errors


def test_a_failing_reference_is_an_error_where_it_is_used_and_else_a_warning(tmp_path: Path) -> None:
    source = lay_out(
        tmp_path, hosts="n1\n", group_vars__all="instances: '{{ modle }}'\nmodel: m\nfact: '{{ ansible_os }}'\n"
    )
    errors, warnings = checked(source)
    assert errors == ["group_vars/all:1:1: instances can't be rendered: 'modle' is undefined"]
    assert len(warnings) == 1
    assert warnings[0].startswith("group_vars/all:3:1: fact can't be rendered")


def test_an_error_of_a_group_is_told_once_and_not_for_each_of_its_hosts(tmp_path: Path) -> None:
    source = lay_out(tmp_path, hosts="n[1:9]\n", group_vars__all="instances: '{{ x }}'\n")
    assert len(checked(source)[0]) == 1


def test_a_file_for_nobody_is_a_warning_with_the_nearest_name(tmp_path: Path) -> None:
    source = lay_out(tmp_path, hosts="[gpu-cluster]\nn1\n", **{"group_vars__gpu-clster.yml": "a: 1\n"})
    assert checked(source) == (
        [],
        ["group_vars/gpu-clster.yml: no group is called 'gpu-clster': did you mean 'gpu-cluster'?"],
    )
