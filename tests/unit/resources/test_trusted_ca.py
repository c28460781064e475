from __future__ import annotations

from pathlib import Path

from fleet.resources import TrustedCa
from tests.local_host import LocalHost

PEM = "-----BEGIN CERTIFICATE-----\nMIIBcommon\nQUJDREVG\nlast=\n-----END CERTIFICATE-----\n"


def test_it_is_trusted_only_once_the_hosts_own_bundle_has_it(host: LocalHost) -> None:
    bundle = host.path / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True)
    bundle.write_text("-----BEGIN CERTIFICATE-----\nMIIBcommon\nother\nx\n-----END CERTIFICATE-----\n")
    host.program("update-ca-certificates", f"cat {host.path}/usr/local/share/ca-certificates/*.crt >> {bundle}")
    ca = TrustedCa("mirrors", PEM, "debian", str(host.path))
    change = host.settle(ca)
    assert change
    assert Path(ca.path).read_text() == PEM
    bundle.write_text("")
    assert ca.diff(host.see(ca)) is not None, "a bundle that was made without it is found"
