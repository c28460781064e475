"""What a host may be told: the schema, and the check of what an inventory says against it."""

from fleet.settings.check import nearest, settings_of
from fleet.settings.gateway import Frontend, Gateway
from fleet.settings.schema import (
    RESERVED,
    Driver,
    HostSettings,
    Image,
    Instance,
    Mirrors,
    Proxy,
    RegistryLogin,
    Runtime,
    SigningKey,
    Weights,
    image_versions,
)
from fleet.settings.together import all_settings

__all__ = [
    "RESERVED",
    "Driver",
    "Frontend",
    "Gateway",
    "HostSettings",
    "Image",
    "Instance",
    "Mirrors",
    "Proxy",
    "RegistryLogin",
    "Runtime",
    "SigningKey",
    "Weights",
    "all_settings",
    "image_versions",
    "nearest",
    "settings_of",
]
