"""How commands reach a host: one seam, three ways (ssh, local, fake)."""

from fleet.transport.base import Held, Reply, Transport

__all__ = ["Held", "Reply", "Transport"]
