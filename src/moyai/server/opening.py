"""Opening the log of a directory and becoming its leader: the last step before a server can answer."""

from moyai.control import requests as r
from moyai.control.core import Control
from moyai.control.handle import Refused
from moyai.control.lease import LeaseTable
from moyai.plan.types import Policy
from moyai.server import clock
from moyai.server.auth import Browsers
from moyai.server.blobs import Blobs
from moyai.server.checkpoints import KeptLog, code_version
from moyai.server.fleet import Fleet
from moyai.server.layout import Layout, StartTrouble
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


def open_shell(layout: Layout, fleet: Fleet, agents: LocalAgents, local: bool) -> tuple[Shell, KeptLog, int]:
    """Load the state, take over, declare the fleet; the parts of the server, and the event up to which the log is
    still to be checked.

    Raises LogError, KeyTrouble, CorruptRecord, BrokenInvariant or StartTrouble. Nothing is in effect before the log
    was read.
    """
    keys = FileKeys(layout.keys)
    log = Log.open(layout.log)
    public = keys.public_key
    kept = KeptLog(log, lambda m: sign(keys.signing_key(), m), lambda m, s: verify(public, m, s))
    state = kept.load()
    scan_until = kept.scan_before_start()
    kept.epoch = log.take_over()

    def new_leases() -> LeaseTable:
        return LeaseTable(fleet.lease_us)

    control = Control(state, kept.epoch, new_leases())
    records = list(control.take_over(code_version(), clock.now(), clock.boot()))
    try:
        records += control.request(r.DeclareFleet(OPERATOR, fleet.profiles, fleet.links), clock.now())
    except Refused as refused:
        raise StartTrouble(f"the fleet: {refused.message}", refused.hint) from None
    kept.append(records, ())
    writer = Writer(kept, control, new_leases)
    writer.checkpoint_seq = kept.checkpoint_seq
    shell = Shell(
        directory=layout.root,
        log=log,
        writer=writer,
        relay=Relay(kept.epoch),
        texts=Texts(log, keys),
        blobs=Blobs(layout.blobs),
        planner=Planner(writer, Policy()),
        browsers=Browsers(),
        agents=agents,
        local=local,
        started_at=clock.now(),
    )
    return shell, kept, scan_until
