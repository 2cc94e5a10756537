"""Sealed texts open under their own key and context only; names of texts are keyed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moyai.model.ids import TenantName, TextRef
from moyai.trust.seal import SealBroken, open_text, public_of, seal_text, sign, text_context, text_ref, verify

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
NONCE = bytes(12)
keys = st.binary(min_size=32, max_size=32)


@given(keys, st.binary(max_size=2000), st.binary(max_size=80), st.binary(min_size=12, max_size=12))
def test_what_is_sealed_opens(key: bytes, text: bytes, context: bytes, nonce: bytes) -> None:
    sealed = seal_text(key, text, context, nonce)
    assert open_text(key, sealed, context) == text
    assert len(sealed) == 1 + 12 + len(text) + 16
    assert len(text) < 8 or text not in sealed[13:]


def test_another_key_context_or_byte_does_not_open() -> None:
    sealed = seal_text(KEY, b"run: python train.py", b"c", NONCE)
    for key, data, context in (
        (OTHER, sealed, b"c"),
        (KEY, sealed, b"d"),
        (KEY, sealed[:-1], b"c"),
        (KEY, sealed + b"\0", b"c"),
        (KEY, b"", b"c"),
        (KEY, b"\x02" + sealed[1:], b"c"),
        *((KEY, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], b"c") for at in range(len(sealed))),
    ):
        with pytest.raises(SealBroken):
            open_text(key, data, context)


def test_a_text_is_bound_to_its_tenant_and_name() -> None:
    a, b = TextRef("aa"), TextRef("bb")
    contexts = {text_context(TenantName(t), r) for t in ("lab", "other") for r in (a, b)}
    assert len(contexts) == 4


def test_names_of_texts_are_keyed_and_stable() -> None:
    assert text_ref(KEY, b"x") == text_ref(KEY, b"x") != text_ref(OTHER, b"x")
    assert text_ref(KEY, b"x") != text_ref(KEY, b"y")
    assert len(text_ref(KEY, b"")) == 64


def test_forms_are_pinned() -> None:
    """Texts sealed by an earlier release must open, and have the same names, for ever."""
    assert text_ref(KEY, b"moyai") == "c0816e2e8355b4ab334bdb1dc31524b78d794032b8bcb88e32512f548dee2129"
    assert (
        seal_text(KEY, b"moyai", b"c", NONCE).hex()
        == "01000000000000000000000000dbd2bb18b1d107204dbbf13129c7f54587b58ff74c"
    )


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="a key has 32 bytes, this one 31"):
        text_ref(KEY[:31], b"x")
    with pytest.raises(ValueError, match="a nonce has 12 bytes, this one 11"):
        seal_text(KEY, b"x", b"", NONCE[:11])


@given(keys, st.binary(max_size=200))
def test_signatures(key: bytes, message: bytes) -> None:
    signature = sign(key, message)
    public = public_of(key)
    assert verify(public, message, signature)
    assert not verify(public, message + b"!", signature)
    assert not verify(public, message, signature[:-1])
    assert not verify(public, message, b"")
    assert not verify(public_of(OTHER if key != OTHER else KEY), message, signature)
