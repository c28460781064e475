from __future__ import annotations

import shutil
from dataclasses import dataclass

import pytest

from fleet import probe
from fleet.errors import CommandFailed
from fleet.resource import Change, Observation, Resource, Step
from fleet.transport.local import LocalTransport

SHELLS = [("sh",), ("dash",), ("bash", "--posix"), ("bash",), ("busybox", "sh")]


@pytest.fixture(params=SHELLS, ids=" ".join)
def host(request: pytest.FixtureRequest) -> LocalTransport:
    shell: tuple[str, ...] = request.param
    if not shutil.which(shell[0]):
        pytest.skip(f"{shell[0]} isn't installed here")
    return LocalTransport(shell=shell)


@dataclass(frozen=True)
class Asks:
    """A resource of which only the probe matters."""

    id: str
    script: str

    def probe(self) -> str:
        return self.script

    def diff(self, seen: Observation) -> Change | None:
        return None

    def apply(self, seen: Observation) -> list[Step]:
        return []


def ask(host: LocalTransport, *scripts: str, nonce: str = "0123456789abcdef") -> list[Observation]:
    resources: list[Resource] = [Asks(f"asks:{n}", script) for n, script in enumerate(scripts)]
    reply = host.run(probe.script(resources, nonce), b"this is not for probes")
    return list(probe.read(reply.stdout, resources, nonce).values())


@pytest.mark.parametrize(
    "broken",
    [
        "if then (",
        "echo 'open",
        "exit 7",
        "kill -9 $(sh -c 'echo $PPID')",
        "set -e; false",
        "set -u; echo $not_there_at_all",
        "nothing_of_this_name",
        "return 3",
        "exec false",
        "exec 1>&-; false",
        "trap 'exit 9' EXIT",
        "cat >/dev/null; false",
        "cd /; umask 0; PATH=; false",
        ". /not/there",
        "shift 5",
    ],
)
def test_one_broken_probe_names_itself_and_spoils_no_other(host: LocalTransport, broken: str) -> None:
    before, bad, after = ask(host, "echo a=1; pwd >/dev/null", broken, "echo b=2; umask | grep -q 77")
    assert (before.get("a"), before.status) == ("1", 0)
    assert bad.status != 0 or broken.startswith("return")  # some shells let `return` end an eval
    assert (after.get("b"), after.status) == ("2", 0)


def test_content_can_not_pass_for_a_frame(host: LocalTransport) -> None:
    lines = ["<0000000000000000 1", ">0000000000000000 0 0", "<", ">", ".0000000000000000", "\n\n>x 0 0\n"]
    forged = "\n".join(lines)
    first, second = ask(host, f"cat <<'E'\n{forged}\nE", "echo x=y")
    assert first.text.strip() == forged.strip()
    assert second.get("x") == "y"


def test_nonces_are_new_each_time() -> None:
    assert len({probe.new_nonce() for _ in range(100)}) == 100


def test_output_without_a_line_end_and_no_output_at_all_are_told_apart(host: LocalTransport) -> None:
    none, bare, whole = ask(host, ":", "printf k=v", "echo k=v")
    assert none.text == ""
    assert bare.get("k") == whole.get("k") == "v"


def test_standard_error_is_part_of_the_answer_and_standard_input_is_empty(host: LocalTransport) -> None:
    said, got = ask(host, "echo e=1 >&2", "echo got=$(cat)")
    assert said.get("e") == "1"
    assert got.get("got", "?") == ""


def test_an_answer_that_was_cut_off_names_where() -> None:
    resources = [Asks("file:a", "echo 1"), Asks("file:b", "echo 2")]
    answer = LocalTransport().run(probe.script(resources, "ab12")).stdout
    for end in range(0, len(answer) - 1, 7):
        with pytest.raises(CommandFailed, match=r"cut off at (file:a|file:b|the end)"):
            probe.read(answer[:end], resources, "ab12")


def test_only_a_line_feed_ends_a_line_of_an_observation() -> None:
    seen = Observation("a=1\x0cb=2\u2028c=3\nd=4")
    assert dict(seen.fields) == {"a": "1\x0cb=2\u2028c=3", "d": "4"}
