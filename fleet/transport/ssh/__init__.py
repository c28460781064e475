"""Commands over SSH. The only package that knows fabric and paramiko."""

from fleet.transport.ssh.auth import fingerprint
from fleet.transport.ssh.connection import SshTransport

__all__ = ["SshTransport", "fingerprint"]
