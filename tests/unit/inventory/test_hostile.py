"""Hostile and broken input: a result or one of our errors, soon, and in little memory."""

import os
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fleet.errors import InputError
from fleet.inventory import VaultPassword, files, load
from fleet.inventory.encoding import Encoder
from fleet.inventory.listing import listed
from fleet.secret import Secret

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k: v}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
BROKEN = {
    "laughs": LAUGHS,
    "merges": MERGES,
    "a value that holds itself": "all: &a {vars: {x: *a}}\n",
    "a list that holds itself": "all: {vars: {x: &a [*a]}}\n",
    "brackets": "all: " + "[" * 100_000,
    "closed brackets": "all: " + "[" * 50_000 + "]" * 50_000,
    "braces": "{a: " * 50_000,
    "dashes": "all: \n" + "- " * 50_000 + "x\n",
    "questions": "? " * 50_000 + "x\n",
    "deep JSON": '{"all": ' * 50_000,
    "NUL": "all: {hosts: {n1\0: }}\n",
    "control characters": "all: {hosts: {\x07: }}\n",
    "an unknown alias": "all: *nowhere\n",
    "an endless key": "? " + "a" * 100_000 + "\n",
    "a date that is none": "all: {vars: {a: 2026-99-99}}\n",
    "an enormous number": "all: {vars: {a: " + "9" * 10_000 + "}}\n",
    "sexagesimal": "all: {vars: {a: " + ":".join(["59"] * 5_000) + "}}\n",
    "a key that can't be one": "{{a: b}: c}: d\n",
    "a list as key": "[a, b]: c\n",
    "a python object": "all: !!python/object/apply:os.system ['true']\n",
    "an enormous range": "all: {hosts: {'n[1:9999999999]': }}\n",
    "ranges of ranges": "all: {hosts: {'" + "n[0:9]" * 20 + "': }}\n",
    "many parentheses in INI": "[a]\nn1 x=" + "(" * 100_000 + "\n",
    "many minus signs in INI": "[a]\nn1 x=" + "-" * 100_000 + "1\n",
    "a nested list in INI": "[a]\nn1 x=" + "[" * 5_000 + "]" * 5_000 + "\n",
    "an open section": "[" + "a" * 100_000 + "\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("name", ["hosts.yml", "hosts"])
def test_it_ends_soon_and_in_little_memory(text: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    tracemalloc.start()
    started = time.process_time()
    survives(tmp_path / name)
    assert time.process_time() - started < 10
    assert tracemalloc.get_traced_memory()[1] < 300 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00a", "a: ü".encode("latin-1"), "all: {}".encode("utf-16"), b"\x00" * 64]
)
@pytest.mark.parametrize("name", ["hosts.yml", "hosts", "hosts.toml"])
def test_wrong_encodings_are_an_error_with_the_file(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        load([tmp_path / name], passwords=[])
    assert str(tmp_path / name) in str(caught.value)


def test_a_file_of_100_mb_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    tracemalloc.start()
    with pytest.raises(InputError, match="larger than 16 MiB"):
        load([path], passwords=[])
    assert tracemalloc.get_traced_memory()[1] < 2 * files.MAX_BYTES + 2**20
    tracemalloc.stop()


def test_what_is_no_file_is_an_error_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    for name in ("pipe", "loop", "nowhere"):
        with pytest.raises(InputError):
            load([tmp_path / name], passwords=[])


def test_links_in_circles_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "inv/sub").mkdir(parents=True)
    (tmp_path / "inv/hosts").write_text("n1\n")
    (tmp_path / "inv/sub/up").symlink_to("..")
    with pytest.raises(InputError, match="leads back"):
        load([tmp_path / "inv"], passwords=[])
    (tmp_path / "inv/sub/up").unlink()
    (tmp_path / "inv/sub/hosts").write_text("n2\n")
    (tmp_path / "inv/group_vars/all").mkdir(parents=True)
    (tmp_path / "inv/group_vars/all/again").symlink_to(".")
    with pytest.raises(InputError, match="leads back"):
        load([tmp_path / "inv"], passwords=[]).host("n1")


def test_a_reference_can_t_fill_the_memory_or_take_forever(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    for text in (
        "'x' * 10**9",
        "[1] * 10**9",
        "10 ** 1000000000",
        "range(10**9) | list",
        "'%1000000000d' % 1",
    ):
        path.write_text(f'all: {{hosts: {{n1: {{a: "{{{{ {text} }}}}"}}}}}}\n')
        with pytest.raises(InputError):
            load([path], passwords=[]).host("n1").resolve("a")


def test_references_one_behind_the_other_end_in_words(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    lines = "".join(f'    v{number}: "{{{{ v{number + 1} }}}}"\n' for number in range(2_000))
    path.write_text(f"all:\n  hosts: {{n1: }}\n  vars:\n{lines}    v2000: end\n")
    host = load([path], passwords=[]).host("n1")
    assert host.resolve("v1990") == "end"
    with pytest.raises(InputError, match="too deeply"):
        host.resolve("v0")


WORDS = """
all: hosts: children: vars: web: n[1:3]: - { } [ ] &a *a <<: !vault !unsafe !!set | ' " # a: 1 plugin: x ? : ~ =
[web] [web:vars] [web:children] n1 a=1 a=b $ANSIBLE_VAULT;1.1;AES256 6162 ansible_group_priority: 2026-11-23
{{ a }} {% for %} 0o7 1e5 .nan é
""".split()  # noqa: SIM905 - as a list, this would fill a page
SPACES = ["  ", "    ", "\n", "\n", "\n  ", "|\n", "\t", "\r", "\ufeff", "\x85", ", "]
GRAMMAR = st.lists(st.sampled_from(WORDS) | st.sampled_from(SPACES), max_size=25).map("".join)
ANY = st.one_of(
    GRAMMAR.map(str.encode),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
)


@settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY, st.sampled_from(["hosts.yml", "hosts", "hosts.json", "hosts.toml", "group_vars/all.yml", "host_vars/n1"]))
@example(b"a: &a\n  b: *a", "hosts.yml")
@example(b"? a\n? !!set {x}", "group_vars/all.yml")
def test_any_input_gives_a_result_or_an_error_in_words(tmp_path: Path, content: bytes, name: str) -> None:
    base = tmp_path / "base"
    base.mkdir(exist_ok=True)
    path = base / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    source = path if name.startswith("hosts") else base / "plain"
    (base / "plain").write_text("n1\n")
    try:
        survives(source)
    finally:
        path.unlink()


def survives(source: Path) -> None:
    """Loads, lists, resolves and locates everything; only our own errors may come of it."""
    try:
        inventory = load([source], passwords=[VaultPassword(Secret("x"))], playbook_dir=source.parent)
        Encoder().text(listed(inventory))
        for name in inventory.names():
            host = inventory.host(name)
            for variable in host.variables:
                str(host.origin(variable))
                try:
                    host.resolve(variable)
                except InputError:
                    continue
            host.connection()
    except InputError as error:
        said = error.message
    else:
        said = "nothing is wrong"
    assert said
