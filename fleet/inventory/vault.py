"""Ansible's vault format, 1.1 and 1.2: AES-256 in CTR mode, signed with HMAC-SHA256, keys by PBKDF2.

Format and parameters: ansible/parsing/vault/__init__.py of ansible-core 2.19 (``VaultAES256``).
"""

from __future__ import annotations

import os
from binascii import Error as NotHex
from binascii import hexlify, unhexlify
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from fleet.errors import VaultError
from fleet.inventory.values import Encrypted, Place
from fleet.secret import Secret

HEADER = "$ANSIBLE_VAULT"
DEFAULT_LABEL = "default"
_HINT = (
    "export ANSIBLE_VAULT_PASSWORD_FILE=FILE, ANSIBLE_VAULT_IDENTITY_LIST=LABEL@FILE or FLEET_VAULT_PASSWORD;"
    " inventory, inventory.check and secret.* also take --vault-password-file and --vault-id"
)


@dataclass(frozen=True)
class VaultPassword:
    """One password and the label (vault id) it goes by."""

    password: Secret
    label: str = DEFAULT_LABEL


#: Passwords in the order in which they are tried.
VaultPasswords = Sequence[VaultPassword]


@dataclass(frozen=True)
class Envelope:
    """A vault text taken apart: its label, and the three parts that its hexadecimal body holds."""

    label: str
    salt: bytes
    signature: bytes
    ciphertext: bytes


@dataclass(frozen=True)
class Vault:
    """Decrypts with the passwords at hand: the one with the text's label first, then all others."""

    passwords: VaultPasswords = field(default=(), repr=False)

    def decrypt(self, vaulttext: bytes | str, place: Place) -> bytes:
        """The plaintext of ``vaulttext``. Raises VaultError: no password, a wrong one, a damaged text."""
        return self.open(vaulttext, place)[0]

    def open(self, vaulttext: bytes | str, place: Place) -> tuple[bytes, VaultPassword, str]:
        """The plaintext, the password that fitted and the label in the text's header."""
        envelope = parse(vaulttext, place)
        if not self.passwords:
            raise VaultError("encrypted, and there is no vault password", where=str(place.origin()), hint=_HINT)
        for candidate in sorted(self.passwords, key=lambda each: each.label != envelope.label):
            plaintext = _decrypt(envelope, candidate.password)
            if plaintext is not None:
                return plaintext, candidate, envelope.label
        labels = ", ".join(dict.fromkeys(each.label for each in self.passwords))
        raise VaultError(
            f"encrypted for {envelope.label!r}, and no password at hand fits (tried: {labels})",
            where=str(place.origin()),
            hint=_HINT,
        )

    def reveal(self, value: Encrypted) -> Secret:
        """An inline value in clear."""
        plaintext = self.decrypt(value.ciphertext, value.place)
        try:
            return Secret(plaintext.decode())
        except UnicodeDecodeError:
            raise VaultError("the decrypted value isn't text", where=str(value.place.origin())) from None


def is_vault(data: bytes | str) -> bool:
    """Whether ``data`` is a vault text: pure ASCII that begins with the header, as Ansible sees it."""
    start = data[: len(HEADER)] if isinstance(data, str) else data[: len(HEADER)].decode("latin-1")
    return start == HEADER and data.isascii()


def parse(vaulttext: bytes | str, place: Place) -> Envelope:
    """A vault text's parts. Raises VaultError where it is damaged or of an unknown kind."""
    lines = (vaulttext.decode("ascii", "replace") if isinstance(vaulttext, bytes) else vaulttext).splitlines()
    header = [part.strip() for part in lines[0].split(";")] if lines else []
    if len(header) < 3 or header[0] != HEADER:
        raise VaultError("not a vault text", where=str(place.origin()), hint=f"it must begin with {HEADER};1.1;AES256")
    if header[2] != "AES256":
        raise VaultError(f"unknown cipher {header[2]!r}", where=str(place.origin()), hint="only AES256 is known")
    try:
        salt, signature, ciphertext = unhexlify("".join(line.strip() for line in lines[1:])).split(b"\n", 2)
        parts = unhexlify(salt), unhexlify(signature), unhexlify(ciphertext)
    except (NotHex, ValueError):
        raise VaultError(
            "a damaged vault text", where=str(place.origin()), hint="it was cut or edited: restore it from a backup"
        ) from None
    return Envelope(header[3] if len(header) > 3 else DEFAULT_LABEL, *parts)


def encrypt(plaintext: bytes, password: VaultPassword) -> str:
    """``plaintext`` as a vault text: format 1.1, or 1.2 where the password has a label of its own."""
    from cryptography.hazmat.primitives import hashes, hmac, padding

    salt = os.urandom(32)
    key, signing_key, counter = _keys(password.password, salt)
    padder = padding.PKCS7(128).padder()
    ciphertext = _stream(key, counter, padder.update(plaintext) + padder.finalize())
    signer = hmac.HMAC(signing_key, hashes.SHA256())
    signer.update(ciphertext)
    body = hexlify(b"\n".join(map(hexlify, (salt, signer.finalize(), ciphertext)))).decode()
    labelled = password.label != DEFAULT_LABEL
    header = ";".join([HEADER, "1.2", "AES256", password.label] if labelled else [HEADER, "1.1", "AES256"])
    return "\n".join([header, *(body[start : start + 80] for start in range(0, len(body), 80)), ""])


def _decrypt(envelope: Envelope, password: Secret) -> bytes | None:
    """The plaintext, or None where the signature says that the password is another."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, hmac, padding

    key, signing_key, counter = _keys(password, envelope.salt)
    signer = hmac.HMAC(signing_key, hashes.SHA256())
    signer.update(envelope.ciphertext)
    try:
        signer.verify(envelope.signature)
        unpadder = padding.PKCS7(128).unpadder()
        return unpadder.update(_stream(key, counter, envelope.ciphertext)) + unpadder.finalize()
    except (InvalidSignature, ValueError):
        return None


@lru_cache(maxsize=4096)  # one key takes 5 ms: values encrypted together are often read together
def _keys(password: Secret, salt: bytes) -> tuple[bytes, bytes, bytes]:
    """The cipher's key, the signature's key and the first counter, from 10,000 rounds of PBKDF2."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

    derived = PBKDF2HMAC(hashes.SHA256(), 80, salt, 10_000).derive(password.reveal().encode("utf-8", "surrogateescape"))
    return derived[:32], derived[32:64], derived[64:]


def _stream(key: bytes, counter: bytes, data: bytes) -> bytes:
    """AES-256 in CTR mode, which is its own inverse."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    cipher = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    return cipher.update(data) + cipher.finalize()
