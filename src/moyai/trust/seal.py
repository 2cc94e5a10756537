"""Sealing a tenant's text, naming it by a keyed hash, and signing. Pure: keys and nonces are arguments.

A tenant's key is used for nothing itself: one key for the hash and one for the cipher are derived from it.
"""

import hashlib
import hmac

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from moyai.model.ids import TenantName, TextRef

KEY_BYTES = 32
NONCE_BYTES = 12

_FORM = b"\x01"  # of a sealed text: this byte, the nonce, AES-256-GCM ciphertext with its tag
_TAG_BYTES = 16


class SealBroken(ValueError):
    """A sealed text that can't be opened: another key or context sealed it, or its bytes were changed."""


def text_ref(key: bytes, plaintext: bytes) -> TextRef:
    """The name of `plaintext` in the log: HMAC-SHA256 in hex. Who lacks the tenant's key can't guess at the text."""
    return TextRef(hmac.new(_derived(key, b"moyai text ref 1"), plaintext, hashlib.sha256).hexdigest())


def text_context(tenant: TenantName, ref: TextRef) -> bytes:
    """What a sealed text is bound to: it opens under its own tenant and name only."""
    return b"\0".join((b"text", tenant.encode(), ref.encode()))


def seal_text(key: bytes, plaintext: bytes, context: bytes, nonce: bytes) -> bytes:
    """`plaintext` under AES-256-GCM, bound to `context`. A nonce of 12 random bytes, never used twice with a key."""
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes, this one {len(nonce)}")
    return _FORM + nonce + AESGCM(_derived(key, b"moyai seal 1")).encrypt(nonce, plaintext, context)


def open_text(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """The text in `sealed`, as `seal_text` made it with the same key and context. Raises SealBroken."""
    if sealed[:1] != _FORM or len(sealed) < 1 + NONCE_BYTES + _TAG_BYTES:
        raise SealBroken("not a sealed text, or of a form that this version does not know")
    nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    try:
        return AESGCM(_derived(key, b"moyai seal 1")).decrypt(nonce, ciphertext, context)
    except InvalidTag:
        raise SealBroken("the sealed text does not open: another key or context, or changed bytes") from None


def sign(private_key: bytes, message: bytes) -> bytes:
    """The Ed25519 signature (64 bytes) of `message`. The private key is its 32-byte seed."""
    return Ed25519PrivateKey.from_private_bytes(private_key).sign(message)


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is that of `message` under the 32-byte `public_key`."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def public_of(private_key: bytes) -> bytes:
    """The 32-byte public key of an Ed25519 seed."""
    return Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def key_mark(key: bytes) -> bytes:
    """32 bytes that tell whether somebody else has this very key, and from which it can't be had."""
    return _derived(key, b"moyai key mark 1")


def _derived(key: bytes, purpose: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, this one {len(key)}")
    return HKDFExpand(SHA256(), KEY_BYTES, purpose).derive(key)
