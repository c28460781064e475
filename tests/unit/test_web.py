from __future__ import annotations

import socket
import ssl
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fleet import web
from fleet.errors import LookupFailed
from tests.server import Request, Response, serve


def _certificate(path: Path) -> tuple[str, ssl.SSLContext]:
    """A certificate of its own for 127.0.0.1: its PEM text, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's CA")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    file = path / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + pem.encode())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return pem, context


def _ok(_: Request) -> Response:
    return Response(b"[1]")


def test_a_ca_of_ones_own_is_trusted_and_only_when_it_is_given(tmp_path: Path) -> None:
    pem, context = _certificate(tmp_path)
    with serve(_ok, context) as server:
        url = f"https://127.0.0.1:{server.port}/"
        with web.session(ca=pem) as session:
            assert web.json_of(web.ask(session, url, what="it"), what="it") == [1]
        with (
            web.session(backoff=0) as session,
            pytest.raises(LookupFailed, match="certificate is not trusted") as error,
        ):
            web.ask(session, url, what="it")
    assert "mirrors.ca" in error.value.hint


def test_a_server_that_stumbles_is_asked_again() -> None:
    answers = iter([Response(status=503), Response(status=502), Response(b"{}")])
    with serve(lambda _: next(answers)) as server, web.session(backoff=0) as session:
        assert web.ask(session, f"http://127.0.0.1:{server.port}/", what="it").status_code == 200
    assert len(server.asked) == 3


def test_nobody_there_is_told_in_words() -> None:
    with serve(_ok) as server:
        pass
    with web.session(backoff=0) as session, pytest.raises(LookupFailed, match="the hub doesn't answer") as error:
        web.ask(session, f"http://127.0.0.1:{server.port}/", what="the hub")
    assert "refused" in error.value.hint
    assert "0x" not in error.value.hint


def test_a_page_instead_of_json_is_told_in_words() -> None:
    with serve(lambda _: Response(b"<html>log in")) as server, web.session() as session:
        answer = web.ask(session, f"http://127.0.0.1:{server.port}/", what="it")
        with pytest.raises(LookupFailed, match="isn't JSON") as error:
            web.json_of(answer, what="it")
    assert "<html>log in" in error.value.hint


def test_a_name_that_nobody_knows_is_told_without_the_wrapping_of_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with web.session(backoff=0) as session, pytest.raises(LookupFailed) as error:
        web.ask(session, "https://registry.invalid/v2/", what="the registry registry.invalid")
    assert error.value.hint == "is it up, and can this machine reach it? Name or service not known"
