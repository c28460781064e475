"""What an instance is told for vLLM, held against that vLLM's own options before any host is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from fleet.secret import Secret
from fleet.settings.schema import Instance
from fleet.sizing.options import check_args

#: Options that the instance's own keys say.
OWN_KEYS: Final = {
    "model": "model", "host": "listen", "port": "port", "served-model-name": "served_name", "api-key": "api_key",
}  # fmt: skip


def findings(vllm: str, instance: Instance) -> Iterator[tuple[str, str, str, str]]:
    """What is wrong, as (``args`` or ``env``, the key, words, a hint); a hint alone tells a warning from an error.

    The key is empty where all of it is meant. A warning's hint is empty.
    """
    for name in instance.args:
        if own := OWN_KEYS.get(name.replace("_", "-")):
            yield "args", name, f"--{name} is said by the instance's own `{own}`", f"set {own}, and take it out of args"
    secrets = [name for name, value in instance.args.items() if isinstance(value, Secret)]
    for name in secrets:
        yield "args", name, "a secret in args would be seen in `ps`", "use api_key, or env"
    for name, value in instance.env.items():
        if "\n" in (value.reveal() if isinstance(value, Secret) else str(value)):
            yield "env", name, f"{name} spans lines", "the environment of a container is one line a variable"
    judged: Mapping[str, object] = {name: value for name, value in instance.args.items() if name not in secrets}
    for finding in check_args(vllm, judged):
        if finding.level == "refuse":
            hint = f"write {finding.nearest}" if finding.nearest else f"see `vllm serve --help` of {vllm}"
            yield "args", finding.option, finding.words, hint
        else:
            yield "args", finding.option, finding.words, ""
