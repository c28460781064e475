"""What has to be looked up before a plan: the digest of each image, the files of each model. Once, for all hosts.

Where the lock files beside the inventory know the answer, nothing is asked of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import requests

from fleet import lockfiles, registry, web
from fleet.errors import LookupFailed
from fleet.mirrors import mirrors_of
from fleet.settings import HostSettings, Instance
from fleet.survey import Lookups
from fleet.target import Manifest
from fleet.weights import hub, texts

Say = Callable[[str], None]
ModelKey = tuple[str, str]
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def resolve(
    settings: Mapping[str, HostSettings],
    lock_dir: Path,
    *,
    ca: str = "",
    say: Say = lambda text: None,
    update: bool = False,
) -> Lookups:
    """What the hosts' images and models are, from the lock files, else from registries and hubs (and locked then).

    ``lock_dir`` is the inventory's directory, ``ca`` PEM text that is trusted beside the system's own CAs.
    ``say`` is told, in one line each, what was newly locked, and with ``update`` (which asks again for everything)
    what changed. A look-up that fails stops the hosts that need it, not the others.

    Raises:
        LockFileError: a lock file is damaged or can't be written.
        SettingsError: an image reference that isn't one.
    """
    images, models = lockfiles.read_images(lock_dir), lockfiles.read_models(lock_dir)
    failures: dict[str, LookupFailed] = {}
    wanted_images = {
        (told.image.ref, host): partial(_image, told, ca) for host, told in settings.items() if not told.image.digest
    }
    wanted_models = {
        ((instance.model, instance.revision), host): partial(_model, told, instance, ca)
        for host, told in settings.items()
        for instance in told.instances
    }
    new_images = _ask(wanted_images, () if update else images, failures)
    new_models = _ask(wanted_models, () if update else models, failures)
    new_models.update(_completed(wanted_models, models, new_models, settings, ca, say))
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
    return Lookups(digests, models, ca, {ref: found.size for ref, found in images.items()}, failures)


def _session(told: HostSettings, ca: str) -> requests.Session:
    proxies = {scheme: address for scheme in ("http", "https") if (address := getattr(told.proxy, scheme))}
    if proxies:
        proxies["no_proxy"] = ",".join(told.proxy.no_proxy)
    return web.session(ca=ca, proxies=proxies)


def _image(told: HostSettings, ca: str) -> registry.Found:
    image = told.image
    names = registry.candidates(image.ref, mirrors_of(told).registries, image.fallbacks)
    return registry.look_up(image.ref, names, session=_session(told, ca), login=image.login)


def _model(told: HostSettings, instance: Instance, ca: str) -> Manifest:
    weights, session = told.weights, _session(told, ca)
    manifest = hub.look_up(
        instance.model,
        instance.revision,
        source=weights.source,
        session=session,
        endpoint=weights.endpoint,
        token=weights.token,
    )
    return texts.complete(manifest, session=session, endpoint=weights.endpoint, token=weights.token)


def _completed(
    wanted: Container[tuple[ModelKey, str]],
    locked: Mapping[ModelKey, Manifest],
    new: Mapping[ModelKey, Manifest],
    settings: Mapping[str, HostSettings],
    ca: str,
    say: Say,
) -> dict[ModelKey, Manifest]:
    """Locked models whose config.json isn't in the lock file (written by hand, or long ago), with it.

    Where the hub can't give it any more that is said, and the model is judged by its name alone.
    """
    found: dict[ModelKey, Manifest] = {}
    for key, manifest in locked.items():
        host = next((name for name in settings if (key, name) in wanted), "")
        if key in new or not host or not texts.missing(manifest):
            continue
        weights, session = settings[host].weights, _session(settings[host], ca)
        try:
            found[key] = texts.complete(manifest, session=session, endpoint=weights.endpoint, token=weights.token)
        except LookupFailed as error:
            say(f"model {'@'.join(key)}: sized by its name, for its config.json can't be had: {error.message}")
    return found


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
