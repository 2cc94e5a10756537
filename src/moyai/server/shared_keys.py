"""The keys of a shared log: control planes that take turns at it must have the same, and it is seen that they do."""

from moyai.model.ids import TenantName
from moyai.store.keychecks import KeyChecks
from moyai.trust.io.filekeys import FileKeys, KeyTrouble
from moyai.trust.seal import key_mark

_SIGNING = "signing"
_TENANT = "tenant "
_HOW = (
    "all control planes of one log need the same keys: give each the same directory by --keys, or copy the file "
    "from the one that made it"
)


class SharedKeys:
    """Tenants' keys that were compared with the marks which the log keeps."""

    def __init__(self, keys: FileKeys, checks: KeyChecks, place: str) -> None:
        """Compares the signing key. Raises KeyTrouble where the log knows another, LogError."""
        self._keys = keys
        self._checks = checks
        self._place = place
        mark = key_mark(keys.signing_key())
        if checks.keep(_SIGNING, mark) != mark:
            raise KeyTrouble(f"{keys.directory / 'signing.key'}: is not the signing key of {place}; {_HOW}")
        self._marks = checks.all()
        self._good: set[TenantName] = set()

    def check_all(self) -> None:
        """See that every tenant's key is here that the log knows. Raises as `tenant_key`."""
        for name in self._marks:
            if name.startswith(_TENANT):
                self.tenant_key(TenantName(name.removeprefix(_TENANT)))

    def tenant_key(self, tenant: TenantName) -> bytes:
        """The key of `tenant`, made where nobody has one yet. Raises KeyTrouble where the log knows another, LogError.

        It asks the log where it does not know the tenant, once.
        """
        if tenant in self._good:
            return self._keys.tenant_key(tenant)
        name = _TENANT + tenant
        known = self._marks.get(name)
        if known is None:
            known = self._checks.all().get(name)  # another control plane may have made it while it led
        if known is not None and not self._keys.has(tenant):
            raise KeyTrouble(
                f"{self._keys.directory}: has no key of tenant {tenant}, but {self._place} knows one; {_HOW}"
            )
        key = self._keys.tenant_key(tenant)
        mark = key_mark(key)
        if (known or self._checks.keep(name, mark)) != mark:
            raise KeyTrouble(
                f"{self._keys.directory}: its key of tenant {tenant} is not the one of {self._place}; {_HOW}"
            )
        self._good.add(tenant)
        return key
