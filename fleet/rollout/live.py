"""What runs now, as its release says: where it answers, under which name, and what model it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.errors import CommandFailed
from fleet.resources.release import INSTANCES, unit_name
from fleet.shell import PREAMBLE, quote
from fleet.sizing.settings import Arguments
from fleet.transport import Transport

#: Where a server that listens everywhere is asked.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}  # noqa: S104 — asked at, not bound to


@dataclass(frozen=True)
class Live:
    """An instance's current release. ``max_model_len`` is None where it wasn't told; ``weights`` are the files' id."""

    instance: str
    release: str
    url: str
    served_name: str
    vision: bool
    max_model_len: int | None
    model: str
    quantization: str
    weights: str = ""
    gpus: tuple[str, ...] = field(default=())

    @property
    def container(self) -> str:
        """The name of its container."""
        return unit_name(self.instance).removesuffix(".service")


def live(transport: Transport, instance: str, *, root: str = INSTANCES) -> Live:
    """The instance's current release, read on its host: one command.

    Raises:
        CommandFailed: there is no current release, or it can't be read.
    """
    script = f"""{PREAMBLE}
cd {quote(f"{root}/{instance}")} && r=$(readlink current) && cd current || exit 1
printf '%s\\n' "${{r##*/}}"; tr -d '\\n' < release.json || exit 1; echo
# The unit says where the model's files lie on this host; in a unit's words %% is one %, and $$ one $.
w=$(sed -n 's|.*--mount=type=bind,src=\\([^,]*\\),dst=/models/.*|\\1|p' {unit_name(instance)} | head -n 1)
w=$(printf %s "$w" | sed 's/%%/%/g; s/\\$\\$/$/g')
tr -d '\\n' < "$w/config.json" 2>/dev/null; echo"""
    reply = transport.run(script, timeout=30)
    lines = [*reply.stdout.split("\n"), "", "", ""][:3]
    release, about, config = lines[0], _object(lines[1]), _object(lines[2])
    if not reply.ok or not release or not about:
        raise CommandFailed(
            f"the current release of {instance} can't be read",
            command="(current release)",
            status=reply.status,
            stderr=reply.stderr,
            where=transport.name,
            hint="./inv releases shows what there is",
        )
    return read_live(instance, release, about, config)


def read_live(instance: str, release: str, about: Mapping[str, Any], config: Mapping[str, Any]) -> Live:
    """From a release.json and the model's config.json (empty where there is none: then it has no eyes)."""
    args = Arguments({str(name).replace("_", "-"): value for name, value in (about.get("args") or {}).items()})
    listen = str(about.get("listen") or "127.0.0.1")
    host = _EVERYWHERE.get(listen, listen)
    quantized = config.get("quantization_config")
    method = str(quantized.get("quant_method") or "") if isinstance(quantized, Mapping) else ""
    no_pictures = args.counts("limit-mm-per-prompt").get("image") == 0 or args.given("language-model-only")
    return Live(
        instance=instance,
        release=release,
        url=f"http://{f'[{host}]' if ':' in host else host}:{about.get('port')}",
        served_name=str(about.get("served_name") or about.get("model") or ""),
        vision="vision_config" in config and not no_pictures,
        max_model_len=args.number("max-model-len"),
        model=str(about.get("model") or ""),
        quantization=method or args.text("quantization"),
        weights=str(about.get("content_id") or ""),
        gpus=tuple(map(str, about.get("gpus") or ())),
    )


def same_model(before: Live, after: Live) -> bool:
    """Whether both are to answer alike: the same model, the same bytes of it, quantized alike."""
    return (before.model, before.weights, before.quantization) == (after.model, after.weights, after.quantization)


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
