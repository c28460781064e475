"""``./inv demo``: the whole way, on real hosts on this machine, in one command."""

from __future__ import annotations

import os
import subprocess
import sys

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

from fleet import report
from fleet.cli.program import confirm, verb
from fleet.target import ROOT

INVENTORY = "inventory/lab.yml"


@verb(common="yes")
def demo(c: Context, yes: bool = False) -> None:
    """See it work: raise a lab of real hosts and a gateway, provision them from nothing, verify them, ask a question.

    Needs root on Debian or Ubuntu, 8 GiB of memory and 15 GiB of disk. Example: ./inv demo
    """
    from fleet.lab import lab, machine

    machine.require()
    kind = lab.serves()
    real = "the real vLLM 0.32 for CPU will serve, with a tiny Qwen2.5-VL of random weights"
    standin = "a light stand-in will serve (pip here finds no PyTorch build for CPU, which the real vLLM needs)"
    report.heading(f"Demo: {real if kind == 'real' else standin}.")
    lacking = machine.missing()
    installs = f"install {', '.join(lacking)} by apt, " if lacking else ""
    report.note(
        f"It will {installs}make network namespaces and four systemd hosts (198.18.77.10 to .13)\n"
        f"under {machine.work()}, and keep what it downloads in {machine.cache()}.\n"
        "Nothing else on this machine changes; ./inv lab.down ends it."
    )
    confirm("Go on?", yes=yes)
    # Three servers that start at once on a few cores take longer than one after another.
    gently = ["--forks", "1"] if kind == "real" and (os.cpu_count() or 1) < 8 else []
    provision = ["provision", "--yes", *gently]
    for words in (["lab.up", "--yes"], provision, ["verify"], ["status"]):
        shown = " ".join(word for word in words if word != "--yes")
        report.heading(f"\n▶ ./inv {shown}" + ("" if words[0] == "lab.up" else f" --inventory {INVENTORY}"))
        _run(words)
    report.result(_farewell())


def _run(words: list[str]) -> None:
    environment = {**os.environ, "FLEET_INVENTORY": str(ROOT / INVENTORY), "PYTHONPATH": str(ROOT)}
    status = subprocess.run([sys.executable, "-m", "fleet", *words], cwd=ROOT, env=environment, check=False).returncode
    if status:
        report.error(f"./inv {words[0]} ended with {status}; its own words are above")
        report.note("  → the hosts are still there to look at (./inv lab.status); ./inv lab.down ends them")
        raise Exit(code=status)


def _farewell() -> str:
    return f"""
It serves. Ask it, through the gateway:

  curl -s http://198.18.77.10:8080/v1/chat/completions -H 'Authorization: Bearer lab-key-0123456789' \\
    -H 'Content-Type: application/json' \\
    -d '{{"model": "Qwen2.5-VL-7B", "max_tokens": 8, "messages": [{{"role": "user", "content": "Hello"}}]}}'

Look around:

  export FLEET_INVENTORY={INVENTORY}
  ./inv provision                      nothing to do: two commands a host
  ./inv facts; ./inv status; ./inv gateway; ./inv history
  ssh -i .fleet/lab/id_ed25519 -o UserKnownHostsFile=.fleet/lab/known_hosts root@198.18.77.12
  $EDITOR {INVENTORY}        change an argument, then: ./inv plan; ./inv provision; ./inv rollout

End it:  ./inv lab.down"""


collection = Collection("demo")
collection.add_task(demo, name="demo", default=True)
