"""Opening the log of a directory and becoming its leader: the last step before a server can answer."""

from collections.abc import Callable
from dataclasses import dataclass

from moyai.control import requests as r
from moyai.control.core import Control
from moyai.control.handle import Refused
from moyai.control.lease import LeaseTable
from moyai.control.state import State
from moyai.model.ids import TenantName
from moyai.model.units import Boot
from moyai.plan.types import Policy
from moyai.server import clock
from moyai.server.auth import Browsers
from moyai.server.blobs import Blobs
from moyai.server.checkpoints import KeptLog, code_version
from moyai.server.fleet import Fleet
from moyai.server.layout import Layout, StartTrouble
from moyai.server.leading import Alone, Leading
from moyai.server.planner import Planner
from moyai.server.relay import Relay
from moyai.server.shell import LocalAgents, Shell
from moyai.server.texts import Texts
from moyai.server.writer import Writer
from moyai.store.log import Log
from moyai.trust.io.filekeys import FileKeys
from moyai.trust.seal import sign, verify

OPERATOR = "operator"
"""The actor behind what a fleet file declares."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A log with the keys that go with it, and the state at its head; nothing is in effect yet."""

    kept: KeptLog
    keys: FileKeys
    state: State
    scan_until: int  # up to which event it is still to be checked
    leading: Leading
    tenant_key: Callable[[TenantName], bytes]
    blobs: Blobs
    wait_us: int = 0  # for how long after the take-over an older leader may still renew the sites' leases


def kept_log(log: Log, keys: FileKeys) -> KeptLog:
    """The log, with checkpoints signed by the keys. Raises KeyTrouble."""
    public = keys.public_key
    return KeptLog(log, lambda m: sign(keys.signing_key(), m), lambda m, s: verify(public, m, s))


def open_alone(layout: Layout) -> Opened:
    """The log of a directory, taken over. Raises LogError, KeyTrouble, CorruptRecord or BrokenInvariant."""
    keys = FileKeys(layout.keys)
    kept = kept_log(Log.open(layout.log), keys)
    state = kept.load()
    scan_until = kept.scan_before_start()
    kept.epoch = kept.log.take_over()
    return Opened(kept, keys, state, scan_until, Alone(), keys.tenant_key, Blobs(layout.blobs))


def open_shell(
    layout: Layout, fleet: Fleet, agents: LocalAgents, local: bool, opened: Opened | None = None
) -> tuple[Shell, KeptLog, int]:
    """Load the state, take over, declare the fleet; the parts of the server, and the event up to which the log is
    still to be checked. `opened`: a shared log whose leader's place was taken.

    Raises LogError, KeyTrouble, CorruptRecord, BrokenInvariant or StartTrouble. Nothing is in effect before the log
    was read.
    """
    opened = opened or open_alone(layout)
    kept = opened.kept

    def new_leases() -> LeaseTable:
        return LeaseTable(fleet.lease_us)

    control = Control(opened.state, kept.epoch, new_leases())
    records = list(control.take_over(code_version(), clock.now(), Boot(clock.boot() + opened.wait_us)))
    try:
        records += control.request(r.DeclareFleet(OPERATOR, fleet.profiles, fleet.links, fleet.remote), clock.now())
    except Refused as refused:
        raise StartTrouble(f"the fleet: {refused.message}", refused.hint) from None
    kept.append(records, ())
    writer = Writer(kept, control, new_leases)
    writer.checkpoint_seq = kept.checkpoint_seq
    shell = Shell(
        directory=layout.root,
        log=kept.log,
        writer=writer,
        relay=Relay(kept.epoch),
        texts=Texts(kept.log, opened.tenant_key),
        blobs=opened.blobs,
        planner=Planner(writer, Policy()),
        browsers=Browsers(),
        agents=agents,
        local=local,
        started_at=clock.now(),
        leading=opened.leading,
    )
    return shell, kept, opened.scan_until
