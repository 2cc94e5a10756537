"""Tenants' texts: sealed when they come in, opened for one delivery to the agent that needs them, never kept open."""

import logging
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from moyai.model.codec import encode
from moyai.model.ids import TenantName, TextRef
from moyai.model.workload import DatasetText, JobText
from moyai.trust.seal import NONCE_BYTES, SealBroken, open_text, seal_text, text_context, text_ref

if TYPE_CHECKING:
    from moyai.store.log import Log, Sealed

_LOG = logging.getLogger("moyai.server")


class Texts:
    """Seals and opens texts under their tenants' keys."""

    def __init__(self, log: "Log", tenant_key: Callable[[TenantName], bytes]) -> None:
        """`tenant_key` gives the key of a tenant, made if need be. It may raise KeyTrouble and LogError."""
        self._log = log
        self._key = tenant_key

    def seal(self, tenant: TenantName, text: JobText | DatasetText) -> "Sealed":
        """The text as the store keeps it. The same text of the same tenant has the same name. Raises KeyTrouble."""
        from moyai.store.log import Sealed

        plain, key = encode(text), self._key(tenant)
        ref = text_ref(key, plain)
        nonce = secrets.token_bytes(NONCE_BYTES)
        return Sealed(ref, tenant, seal_text(key, plain, text_context(tenant, ref), nonce))

    def open_all(self, refs: Sequence[TextRef]) -> dict[TextRef, str]:
        """The texts under `refs`, as JSON; those that were erased are missing. Reads the log: call it in a thread.

        Raises LogError or KeyTrouble.
        """
        opened: dict[TextRef, str] = {}
        for ref in refs:
            held = self._log.sealed(ref)
            if held is None:
                continue
            try:
                key = self._key(held.tenant)
                opened[ref] = open_text(key, held.data, text_context(held.tenant, ref)).decode()
            except SealBroken as error:  # its key was destroyed: as good as erased
                _LOG.warning("the text %s… of tenant %s can't be opened: %s", ref[:12], held.tenant, error)
        return opened
