"""This inventory beside Ansible's: the same files, the same question, one run.

``python benchmarks/inventory.py [--hosts 5000] [--groups 200] [--repeat 3]`` prints, for each question, the seconds
(wall and CPU, median) and the most memory (MiB) that each program took, and the ratio. Both are started as a user
starts them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROGRAM = [sys.executable, "-m", "fleet"]


@dataclass(frozen=True)
class Taken:
    """What one run took: seconds of wall clock and of CPU, MiB of memory at most; what it said."""

    wall: float
    cpu: float
    memory: float
    said: bytes


def write_inventory(directory: Path, hosts: int, groups: int) -> Path:
    """An inventory in YAML: groups in three levels, each with variables inline and in group_vars, some host_vars."""
    chance = random.Random(7)
    lines = ["all:", "  vars: {ansible_user: ops, ansible_port: 22}", "  children:"]
    for number in range(groups):
        lines += [
            f"    rack{number:03}:",
            f"      vars: {{rack: {number}, model: 'Qwen/Qwen2.5-VL-7B-Instruct'}}",
            "      hosts:",
        ]
        for host in range(number, hosts, groups):
            address = f"10.{host >> 8}.{host & 255}.1"
            lines.append(f"        gpu{host:04}.example.com: {{ansible_host: {address}, slot: {host % 8}}}")
    for number in range(0, groups, 10):
        lines += [f"    row{number // 10:02}:", "      children:"]
        lines += [f"        rack{rack:03}:" for rack in range(number, min(number + 10, groups))]
    (directory / "hosts.yml").write_text("\n".join(lines) + "\n")
    (directory / "group_vars").mkdir()
    (directory / "host_vars").mkdir()
    settings = {"image": {"ref": "vllm/vllm-openai:v0.8.2"}, "vllm_args": {"max-model-len": 8192, "dtype": "bfloat16"}}
    (directory / "group_vars/all.yml").write_text(json.dumps(settings))
    for number in range(groups):
        instances = [{"name": f"m{n}", "model": "{{ model }}", "port": 8000 + n, "args": {"seed": n}} for n in range(4)]
        text = f"instances: {json.dumps(instances)}\nzone: z{number % 3}\nlabels: [a, b, c]\nnote: rack {number}\n"
        (directory / f"group_vars/rack{number:03}.yml").write_text(text)
    for host in chance.sample(range(hosts), hosts // 50):
        (directory / f"host_vars/gpu{host:04}.example.com.yml").write_text(f"slot: {host}\nserial: S{host}\n")
    return directory / "hosts.yml"


def measure(command: list[str], directory: Path) -> Taken:
    """Runs ``command`` once. Raises CalledProcessError where it fails."""
    with tempfile.TemporaryFile() as out:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "ANSIBLE_LOCALHOST_WARNING": "0"}
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=directory, stdout=out, stderr=subprocess.DEVNULL, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        out.seek(0)
        return Taken(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, out.read())


def main() -> None:
    """Writes the inventory, asks both, prints a table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--hosts", type=int, default=5000)
    options.add_argument("--groups", type=int, default=200)
    options.add_argument("--repeat", type=int, default=3)
    chosen = options.parse_args()
    ansible = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as name:
        source = str(write_inventory(Path(name), chosen.hosts, chosen.groups))
        pattern = "rack0*:&row0*:!gpu00*"
        questions = {
            "everything (--list)": (
                [str(ansible / "ansible-inventory"), "-i", source, "--list"],
                [*PROGRAM, "inventory", "--inventory", source, "--list"],
            ),
            "one host (--host)": (
                [str(ansible / "ansible-inventory"), "-i", source, "--host", "gpu0001.example.com"],
                [*PROGRAM, "inventory", "--inventory", source, "--host", "gpu0001.example.com"],
            ),
            f"a pattern ({pattern})": (
                [str(ansible / "ansible"), "-i", source, pattern, "--list-hosts"],
                [*PROGRAM, "inventory", "--inventory", source, "--hosts", pattern, "--json"],
            ),
        }
        print(f"{chosen.hosts} hosts in {chosen.groups} groups, {sys.version.split()[0]}, median of {chosen.repeat}")
        print(f"{'':<34}{'Ansible':>10}{'here':>10}{'ratio':>8}{'CPU':>16}{'MiB':>14}")
        for question, commands in questions.items():
            runs = [[measure(command, Path(name)) for command in commands] for _ in range(chosen.repeat)]
            walls, cpus, memories = (
                [statistics.median(getattr(run[who], part) for run in runs) for who in (0, 1)]
                for part in ("wall", "cpu", "memory")
            )
            print(
                f"{question:<34}{walls[0]:>9.2f}s{walls[1]:>9.2f}s{walls[1] / walls[0]:>8.3f}"
                f"{cpus[0]:>8.2f}{cpus[1]:>8.2f}{memories[0]:>7.0f}{memories[1]:>7.0f}"
            )
            if question.startswith("everything") and comparable(runs[0][0].said) != comparable(runs[0][1].said):
                raise SystemExit("the two answers differ")


def comparable(said: bytes) -> object:
    """The answer without what only says who gave it."""
    answer = json.loads(said)
    answer["_meta"].pop("profile", None)
    return answer


if __name__ == "__main__":
    main()
