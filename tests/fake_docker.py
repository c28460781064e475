#!/usr/bin/env python3
"""A ``docker`` for tests: ``run`` runs the entrypoint on this machine, with the container's paths led to the host's.

Images live in ``$FAKE_DOCKER/images``: one file an image, its lines are JSON of what ``image inspect`` would know.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

STATE = Path(os.environ["FAKE_DOCKER"])
WITH_VALUE = {"--name", "--label", "--network", "--user", "--security-opt", "--env-file", "--env", "--volume",
              "--entrypoint", "--pull"}  # fmt: skip


def run(words: list[str]) -> int:
    volumes: dict[str, str] = {}
    environment = dict(os.environ)
    entry = ""
    while words[0].startswith("-"):
        option = words.pop(0)
        value = words.pop(0) if option in WITH_VALUE else ""
        if option == "--volume":
            host, inside = value.split(":")[:2]
            volumes[inside] = host
        elif option == "--env":
            name, _, text = value.partition("=")
            environment[name] = text
        elif option == "--env-file":
            lines = Path(value).read_text().splitlines()
            environment.update((name, text) for name, _, text in (line.partition("=") for line in lines))
        elif option == "--entrypoint":
            entry = value
    words.pop(0)  # the image

    def led(text: str) -> str:
        for inside, host in volumes.items():
            text = text.replace(inside, host)
        return text

    if "PYTHONPATH" in environment:
        environment["PYTHONPATH"] = led(environment["PYTHONPATH"])
    program = sys.executable if entry == "python3" else entry
    return subprocess.run([program, *map(led, words)], env=environment, check=False).returncode


def main(words: list[str]) -> int:
    images = STATE / "images"
    match words:
        case ["run", *rest]:
            return run(rest)
        case ["info", *_]:
            sys.stdout.write(f"{STATE}\n")
        case ["version"]:
            return 0 if STATE.is_dir() else 1
        case ["image", "inspect", "--format", _, name] | ["image", "inspect", name]:
            file = images / name.replace("/", "%")
            if not file.exists():
                return 1
            sys.stdout.write(file.read_text())
        case ["pull", name]:
            repository, _, _ = name.partition("@")
            served = json.loads((STATE / "registries").read_text())
            if repository not in served:
                sys.stderr.write(f"Error response from daemon: {repository}: connection refused\n")
                return 1
            sys.stdout.write("a1: Pulling fs layer\na1: Pull complete\n")
            (images / name.replace("/", "%")).write_text(name + "\n")
        case ["tag", name, local]:
            (images / local.replace("/", "%")).write_text((images / name.replace("/", "%")).read_text())
        case ["rm", *_]:
            return 0
        case _:
            sys.stderr.write(f"fake docker: {words}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
