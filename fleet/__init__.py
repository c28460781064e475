"""The engine: from an inventory to a plan, from a plan to hosts that serve."""

__version__ = "0.1.0"
