"""What has to be looked up before a plan: the digest of each image, the files of each model. Once, for all hosts.

Where the lock files beside the inventory know the answer, nothing is asked of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import requests

from fleet import lockfiles, registry, web
from fleet.errors import LookupFailed, SettingsError
from fleet.settings import HostSettings, Instance
from fleet.target import Manifest
from fleet.weights import hub

Say = Callable[[str], None]
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Resolved:
    """Image reference → digest and compressed bytes, (model, revision) → manifest, host → what failed for it."""

    digests: Mapping[str, str] = field(default_factory=dict)
    image_sizes: Mapping[str, int] = field(default_factory=dict)
    manifests: Mapping[tuple[str, str], Manifest] = field(default_factory=dict)
    failures: Mapping[str, LookupFailed] = field(default_factory=dict)


def resolve(
    settings: Mapping[str, HostSettings],
    lock_dir: Path,
    *,
    say: Say = lambda text: None,
    update: bool = False,
) -> Resolved:
    """What the hosts' images and models are, from the lock files, else from registries and hubs (and locked then).

    ``say`` is told, in one line each, what was newly locked, and with ``update`` (which asks again for everything)
    what changed. A look-up that fails stops the hosts that need it, not the others.

    Raises:
        LockFileError: a lock file is damaged or can't be written.
        SettingsError: a reference or a CA file that can't be read.
    """
    images, models = lockfiles.read_images(lock_dir), lockfiles.read_models(lock_dir)
    failures: dict[str, LookupFailed] = {}
    wanted_images = {
        (told.image.ref, host): partial(_image, told, lock_dir)
        for host, told in settings.items()
        if not told.image.digest
    }
    wanted_models = {
        ((instance.model, instance.revision), host): partial(_model, told, instance, lock_dir)
        for host, told in settings.items()
        for instance in told.instances
    }
    new_images = _ask(wanted_images, () if update else images, failures)
    new_models = _ask(wanted_models, () if update else models, failures)
    for ref, found in new_images.items():
        _tell(say, f"image {ref}", found.digest, images[ref].digest if ref in images else "")
    for key, manifest in new_models.items():
        _tell(say, f"model {'@'.join(key)}", manifest.content_id, models[key].content_id if key in models else "")
    images, models = {**images, **new_images}, {**models, **new_models}
    if new_images:
        lockfiles.write_images(lock_dir, images)
    if new_models:
        lockfiles.write_models(lock_dir, models)
    digests = {ref: found.digest for ref, found in images.items()}
    return Resolved(digests, {ref: found.size for ref, found in images.items()}, models, failures)


def ca_text(told: HostSettings, lock_dir: Path) -> str:
    """The PEM text of ``mirrors.ca``, a path that is absolute or beside the inventory; empty where none is told.

    Raises:
        SettingsError: it can't be read.
    """
    if not told.mirrors.ca:
        return ""
    path = lock_dir / Path(told.mirrors.ca).expanduser()
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            "mirrors.ca can't be read", where=str(path), hint="a file of certificates in PEM, beside the inventory"
        ) from error


def _session(told: HostSettings, lock_dir: Path) -> requests.Session:
    proxies = {scheme: address for scheme in ("http", "https") if (address := getattr(told.proxy, scheme))}
    if proxies:
        proxies["no_proxy"] = ",".join(told.proxy.no_proxy)
    return web.session(ca=ca_text(told, lock_dir), proxies=proxies)


def _image(told: HostSettings, lock_dir: Path) -> registry.Found:
    image = told.image
    names = registry.candidates(image.ref, told.mirrors.registries, image.fallbacks)
    return registry.look_up(image.ref, names, session=_session(told, lock_dir), login=image.login)


def _model(told: HostSettings, instance: Instance, lock_dir: Path) -> Manifest:
    weights = told.weights
    return hub.look_up(
        instance.model,
        instance.revision,
        source=weights.source,
        session=_session(told, lock_dir),
        endpoint=weights.endpoint,
        token=weights.token,
    )


def _ask(
    wanted: Mapping[tuple[Key, str], Callable[[], Value]], known: Container[Key], failures: dict[str, LookupFailed]
) -> dict[Key, Value]:
    """Each key that isn't known, asked for once; a failure is told of every host that wanted it."""
    found: dict[Key, Value] = {}
    failed: dict[Key, LookupFailed] = {}
    for (key, host), look in wanted.items():
        if key not in known and key not in found and key not in failed:
            try:
                found[key] = look()
            except LookupFailed as error:
                failed[key] = error
        if key in failed:
            failures.setdefault(host, failed[key])
    return found


def _tell(say: Say, name: str, new: str, old: str) -> None:
    """One line for what is new; nothing for what is as it was."""
    short, before = (text.removeprefix("sha256:")[:12] for text in (new, old))
    if new != old:
        say(f"{name}: was {before}, now {short}" if old else f"{name}: locked to {short}")
