"""From a host of the inventory to its checked settings, or to every problem at once.

:func:`settings_of` gives :class:`HostSettings`, or raises: an unknown key with the nearest right name, a wrong type,
two instances on one port, each with the file and line where it stands. ``vllm_args`` and ``vllm_env`` are put under
each instance's own here, and nowhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, cast

from pydantic import BaseModel, ValidationError

from fleet.errors import Findings, InputError, SettingsError
from fleet.inventory.values import in_clear
from fleet.secret import Secret
from fleet.settings import arguments, network
from fleet.settings.schema import RESERVED, HostSettings

#: What to do about a value, and where it counts; whoever checks several hosts names the others.
STEP: Final = "docs/settings.md says what it may be; it counts on "


class Origin(Protocol):
    """Where a value stands; ``str()`` is ``file:line:column``."""


class VariableSource(Protocol):
    """What the schema asks of a host of the inventory."""

    @property
    def name(self) -> str:
        """The host's name in the inventory."""

    @property
    def variables(self) -> Mapping[str, object]:
        """All variables, merged, references not resolved."""

    def resolve(self, variable: str) -> object:
        """A variable's value, references resolved."""

    def origin(self, variable: str, *path: str | int) -> Origin | None:
        """Where that value, or a key inside it, stands."""


def settings_of(host: VariableSource, *, gateway: bool = False) -> tuple[HostSettings, list[str]]:
    """The host's checked settings, and warnings (a variable that looks like a slip of a reserved name).

    ``gateway`` says that a gateway reaches the instances over the network: they listen on the host's own address then.

    Raises:
        SettingsError: one finding.
        Findings: several.
    """
    errors: list[InputError] = []
    values: dict[str, object] = {}
    for name in RESERVED:
        if name in host.variables:
            try:
                values[name] = _plain_where_it_may(host.resolve(name), secret=_SECRETS_OF.get(name, _SECRET_KEYS))
            except InputError as error:
                errors.append(error)
    address = network.address_of(host)
    if isinstance(values.get("mirrors"), str):
        values["mirrors"] = {"profile": values["mirrors"]}
    warnings, slips = _slips(host, without_instances="instances" not in values)
    errors.extend(slips)
    settings: HostSettings | None = None
    try:
        filled = _with_defaults(values, address if gateway or network.own_balancer(values) else "")
        settings = HostSettings.model_validate({**filled, "address": address})
    except ValidationError as error:
        errors.extend(_finding(host, item) for item in _causes([dict(item) for item in error.errors()]))
    if settings is not None:
        errors.extend(_clashes(host, settings))
        wrong, said = _arguments(host, settings)
        errors.extend(wrong)
        warnings.extend(said)
        if (gateway or settings.gateway.own_balancer) and not address:
            errors.extend(_unreachable(host, values))
    if errors:
        raise errors[0] if len(errors) == 1 else Findings(errors)
    return cast("HostSettings", settings), warnings


#: Keys under which a secret stays one. Anything else out of a vault (a port, a proxy) is an ordinary setting.
_SECRET_KEYS = ("api_key", "token", "password", "env", "args")
#: Variables in which other keys hold them.
_SECRETS_OF = {"gateway": ("keys", "pem"), "hooks": ("url", "secret")}


def _plain_where_it_may(value: object, key: object = "", *, secret: Sequence[str] = _SECRET_KEYS) -> object:
    """``value`` with what came out of a vault in clear wherever the schema has no secret."""
    if key in secret:
        return value
    if isinstance(value, dict):
        return {name: _plain_where_it_may(item, name, secret=secret) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain_where_it_may(item, secret=secret) for item in value]
    return in_clear(value)


def nearest(name: str, names: Sequence[str]) -> str:
    """Words that name what was probably meant where something is near, else the names there are."""
    close = difflib.get_close_matches(name, names, 1, 0.6)
    return f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(names)}"


def _with_defaults(values: Mapping[str, object], listen: str = "") -> dict[str, object]:
    """Instances with their port, address, GPUs, and the host's ``vllm_args`` and ``vllm_env`` under their own."""
    given = values.get("instances")
    if not isinstance(given, list):
        return dict(values)
    taken = [item.get("port") for item in given if isinstance(item, dict)]
    free = (port for port in range(8000, 65536) if port not in taken)
    instances: list[object] = []
    for item in given:
        if not isinstance(item, dict):
            instances.append(item)
            continue
        filled = dict(item)
        if "port" not in filled:
            filled["port"] = next(free)
        if "gpus" not in filled:
            filled["gpus"] = "all" if len(given) == 1 else 1
        if listen:
            filled.setdefault("listen", listen)
        for key, base in (("args", "vllm_args"), ("env", "vllm_env")):
            under, own = values.get(base), filled.get(key)
            if isinstance(under, dict) and (own is None or isinstance(own, dict)):
                filled[key] = {**under, **(own or {})}
        instances.append(filled)
    return {**values, "instances": tuple(instances)}


def _slips(host: VariableSource, *, without_instances: bool) -> tuple[list[str], list[InputError]]:
    """Variables within two letters of a reserved name: a warning, or an error where the host would serve nothing."""
    warnings: list[str] = []
    errors: list[InputError] = []
    for name in host.variables:
        if name in RESERVED or name.startswith("ansible_"):
            continue
        meant = next((r for r in RESERVED if len(r) > 4 and 0 < _distance(name, r) <= 2), None)
        if meant is None:
            continue
        where = str(host.origin(name) or host.name)
        words = f"the variable {name!r} looks like {meant!r}, which is what this tool reads"
        if without_instances and meant == "instances":
            errors.append(
                SettingsError(words, where=where, hint=f"rename it to {meant!r}: {host.name} has no instances")
            )
        else:
            warnings.append(f"{where}: {words}")
    return warnings, errors


def _causes(items: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pydantic's errors without those that follow from others: a list of wrong items is "too short" to it too."""
    for item in items:
        inner = any(other["loc"][: len(item["loc"])] == item["loc"] for other in items if other is not item)
        if not (inner and item["type"] == "too_short"):
            yield item


def _finding(host: VariableSource, item: Mapping[str, Any]) -> SettingsError:
    path = tuple(part for part in item["loc"] if not _is_union_tag(part))
    shown = path[0] if path else "settings"
    name = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".") or "settings"
    where = str(_nearest_origin(host, path) or host.name)
    if item["type"] == "extra_forbidden":
        known = _names_at(HostSettings, path[:-1])
        return SettingsError(f"unknown key {name!r}", where=where, hint=nearest(str(path[-1]), known))
    if item["type"] == "missing":
        return SettingsError(f"{name} is missing", where=where, hint=f"give it a value under {shown!r}")
    words = str(item["msg"]).removeprefix("Value error, ").replace("a valid tuple", "a list")
    if item["type"] != "value_error":  # pydantic's sentence goes on after a colon; our own stand as they are
        words = words[0].lower() + words[1:]
    value = item.get("input")
    got = "" if isinstance(value, (dict, Secret)) or item["type"] == "value_error" else f", not {value!r}"
    return SettingsError(f"{name}: {words}{got}", where=where, hint=f"{STEP}{host.name}")


def _is_union_tag(part: object) -> bool:
    """Whether a part of pydantic's location names a branch of a union, not a key."""
    return isinstance(part, str) and (part in ("int", "str", "bool") or "[" in part or part == "is-instance")


def _names_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys that the schema knows at ``path``."""
    current: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        annotation = current.model_fields[part].annotation
        args = [a for a in (annotation, *getattr(annotation, "__args__", ())) if isinstance(a, type)]
        current = next((a for a in args if issubclass(a, BaseModel)), None)
        if current is None:
            return []
    return list(current.model_fields)


def _nearest_origin(host: VariableSource, path: Sequence[str | int]) -> Origin | None:
    for end in range(len(path), 0, -1):
        found = host.origin(str(path[0]), *path[1:end])
        if found:
            return found
    return None


def _clashes(host: VariableSource, settings: HostSettings) -> list[InputError]:
    """Two instances with one name, one port, or one GPU; what no single value shows."""
    errors: list[InputError] = []
    owner: dict[str, str] = {}
    for index, instance in enumerate(settings.instances):
        where = str(_nearest_origin(host, ("instances", index)) or host.name)
        claims = [f"name {instance.name}", f"port {instance.port}"]
        if instance.gpus == "all" and len(settings.instances) > 1:
            words = (
                f"instance {instance.name!r} takes all GPUs, but {host.name} has {len(settings.instances)} instances"
            )
            errors.append(SettingsError(words, where=where, hint="give each a count or a list of indexes"))
        elif isinstance(instance.gpus, tuple):
            claims += [f"GPU {gpu}" for gpu in instance.gpus]
        for claim in claims:
            if claim in owner:
                words = f"instances {owner[claim]!r} and {instance.name!r} on {host.name} both want {claim}"
                errors.append(SettingsError(words, where=where, hint="give one of them another"))
            owner.setdefault(claim, instance.name)
    return errors


def _unreachable(host: VariableSource, values: Mapping[str, object]) -> list[InputError]:
    """Instances that a gateway can't reach, for nobody says on which address they are."""
    return [
        SettingsError(words, where=str(_nearest_origin(host, ("instances", index)) or host.name), hint=network.HINT)
        for index, words in network.without_address(host.name, values.get("instances"))
    ]


def _arguments(host: VariableSource, settings: HostSettings) -> tuple[list[InputError], list[str]]:
    """What vLLM would say to each instance's arguments: errors, and warnings."""
    errors: list[InputError] = []
    warnings: list[str] = []
    for index, instance in enumerate(settings.instances):
        for key, name, words, hint in arguments.findings(settings.image.vllm or "", instance):
            base = f"vllm_{key}"
            given = host.origin("instances", index, key, name) or (host.origin(base, name) if name else None)
            where = str(given or _nearest_origin(host, ("instances", index)) or host.name)
            if hint:
                errors.append(SettingsError(words, where=where, hint=hint))
            else:
                warnings.append(f"{where}: {words}")
    return errors, warnings


def _distance(a: str, b: str) -> int:
    """Levenshtein's distance, cut at 3 by length first."""
    if abs(len(a) - len(b)) > 2:
        return 3
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]
