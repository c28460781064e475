"""Commands over SSH. The only package that knows fabric and paramiko."""

from fleet.transport.ssh.auth import fingerprint
from fleet.transport.ssh.connection import SshTransport
from fleet.transport.ssh.trust import ShownKey, remember, scan

__all__ = ["ShownKey", "SshTransport", "fingerprint", "remember", "scan"]
