"""The names that clients ask for: a rollout takes none away unless that is said. Pure.

A server answers to its served name alone (vLLM: 404 to any other), so where a name changes with the model, whoever asks
for the old one fails from the first switched host on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fleet.rollout.waves import NoCapacity


def lost(now: Mapping[str, str], wanted: Mapping[str, str], hosts: Collection[str]) -> dict[str, list[str]]:
    """Served name → its servers (``HOST:INSTANCE``) now, of names that no server has both now and then.

    ``now`` is server → name on ``hosts``, which take part; ``wanted`` is every server of the inventory, and who has
    no part is taken to serve what it is to.
    """
    there = {server: name for server, name in wanted.items() if server.partition(":")[0] not in hosts} | dict(now)
    kept = {name for server, name in wanted.items() if there.get(server) == name}
    found: dict[str, list[str]] = {}
    for server, name in sorted(now.items()):
        if name not in kept:
            found.setdefault(name, []).append(server)
    return found


def refuse_lost(now: Mapping[str, str], wanted: Mapping[str, str], hosts: Collection[str]) -> None:
    """Refuse what would leave a name that is served now without a server.

    Raises:
        NoCapacity: which name, whose, and how it can be kept.
    """
    for name, servers in lost(now, wanted, hosts).items():
        some = ", ".join(servers[:3]) + (f" and {len(servers) - 3} more" if len(servers) > 3 else "")
        then = sorted({wanted[server] for server in servers if server in wanted})
        words = f"{some} would serve {', '.join(then)} instead" if then else f"{some} would be gone"
        raise NoCapacity(
            f"{name} would be left without capacity: {words}, and no other server has that name all along",
            where="rollout",
            hint=f"`served_name: {name}` on the instances, and their `name` as it is, keep it for who asks, whatever "
            "the model behind; --allow-downtime does it all the same",
        )  # fmt: skip
