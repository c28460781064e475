"""What no line of ours may show: told to the report before anything else is said."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from fleet import report
from fleet.errors import InputError
from fleet.inventory import Host
from fleet.inventory.values import secrets_in
from fleet.secret import Secret
from fleet.settings import RESERVED, HostSettings
from fleet.transport.login import Login


def remember_vaults(hosts: Sequence[Host]) -> None:
    """A vaulted proxy or port isn't a secret to the schema, but no line shows it all the same, findings included."""
    for host in hosts:
        for name in RESERVED:
            if host.has(name):
                with contextlib.suppress(InputError):  # said by the check that comes next
                    report.secrets.update(secret.reveal() for secret in secrets_in(host.resolve(name)))


def remember_secrets(settings: Mapping[str, HostSettings], logins: Mapping[str, Login]) -> None:
    """Tell the report what no line may show."""
    for login in logins.values():
        report.secrets.update(s.reveal() for s in (login.password, login.become_password) if s)
    for told in settings.values():
        found = [told.weights.token, *(i.api_key for i in told.instances), *told.gateway.keys.values()]
        if told.gateway.tls:
            found.append(told.gateway.tls.pem)
        if told.image.login:
            found.append(told.image.login.password)
        for instance in told.instances:
            found.extend(v for v in instance.env.values() if isinstance(v, Secret))
        report.secrets.update(s.reveal() for s in found if s)
        report.secrets.update(*(hook.secrets for hook in told.hooks))
