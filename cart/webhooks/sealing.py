"""Endpoints' secrets as they are stored: sealed (AES-256-GCM) with a key made of SHOWCART_SECRET, so that a copy of the
database signs nothing."""

import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class Seal:
    """Seals and opens with a key made of `secret`, for this purpose only."""

    def __init__(self, secret: str) -> None:
        self._cipher = AESGCM(hashlib.sha256(b"showcart webhook secrets" + secret.encode()).digest())

    def seal(self, text: str, owner: str) -> bytes:
        """`text`, readable only with the same secret and for the same owner."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, text.encode(), owner.encode())

    def open(self, sealed: bytes, owner: str) -> str | None:
        """What was sealed for `owner`; None: with another secret, or for somebody else."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.encode()).decode()
        except InvalidTag:
            return None
