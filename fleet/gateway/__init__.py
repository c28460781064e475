"""What stands before the instances: HAProxy on hosts of our own, or a balancer that was there before us."""

from fleet.gateway.balancer import Balancer, ServerState

__all__ = ["Balancer", "ServerState"]
