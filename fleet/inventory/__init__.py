"""Ansible's inventories, read as Ansible reads them: :func:`load` gives hosts, groups and what is set for each."""

from fleet.inventory.connection import Connection
from fleet.inventory.groups import Group
from fleet.inventory.host import Host
from fleet.inventory.inventory import Inventory, load
from fleet.inventory.values import Origin, Unsafe
from fleet.inventory.vault import VaultPassword, VaultPasswords

__all__ = ["Connection", "Group", "Host", "Inventory", "Origin", "Unsafe", "VaultPassword", "VaultPasswords", "load"]
