"""Every reason that `why` can give, once. Worded in `moyai.locale`; said by whoever finds it."""

from dataclasses import dataclass
from enum import StrEnum

from moyai.model.quick import quick


class Code(StrEnum):
    """Why something is so. Each member says what the fields of its `Reason` hold."""

    # a site is excluded
    RESIDENCY = "residency"  # subject: what demands it (a dataset or "workload"); detail: the codes allowed
    NO_FLAVOR = "no-flavor"  # subject: the need, in words; no flavor of the site can hold one node of it
    TOO_FEW_NODES = "too-few-nodes"  # subject: flavor; wanted, found: nodes
    SITE_NOT_JOINED = "site-not-joined"  # the site's agent never came
    SITE_LOST = "site-lost"  # the site's lease ran out, or an operator declared it dead
    SITE_DRAINING = "site-draining"
    AVOIDED = "avoided"  # it failed to start there a moment ago, or the site's own engine preempted it
    POWER_CAP = "power-cap"  # wanted, found: watts at the site's feed
    NO_LINK = "no-link"  # subject: what must move; detail: where it lies
    NO_REPLICA = "no-replica"  # subject: a dataset no reachable site holds
    PURPOSE = "purpose"  # subject: dataset; detail: the purposes allowed
    ENGINE_LACKS = "engine-lacks"  # subject: the capability the engine of the site lacks
    # a feasible site was not chosen
    CHOSEN = "chosen"  # subject: site; if it waits for room, detail: the job whose end it awaits, found: µs until then
    # each with the figure by which it would have to be better to be taken
    DEARER = "dearer"  # found: micro-yen more than the chosen one, lateness included
    BUSY = "busy"  # found: µs until capacity is free there
    LATE = "late"  # found: µs past the deadline
    # a job waits
    CAPACITY = "capacity"  # subject: site; detail: the job whose end it awaits; found: µs until its earliest start
    BACKOFF = "backoff"  # found: µs until it may be tried again
    BEHIND = "behind"  # subject: the job of higher value that holds what it needs
    NO_SITE = "no-site"  # every site is excluded
    UNREACHABLE = "unreachable"  # subject: site; it waits for a reported end or an operator's word
    UNPLANNED = "unplanned"  # no plan has seen it yet
    WAITS_FOR = "waits-for"  # subject: the task that must end before it; found: how many such tasks there are
    # an attempt or a job ended
    EXIT = "exit"  # found: exit code
    SIGNAL = "signal"  # found: signal number
    COMMAND_NOT_FOUND = "command-not-found"  # found: exit code 127
    TIME_LIMIT = "time-limit"  # wanted: µs allowed
    OUT_OF_MEMORY = "out-of-memory"  # wanted: bytes allowed
    CANCELLED = "cancelled"  # subject: actor
    PREEMPTED = "preempted"  # subject: the job that took its place
    MIGRATED = "migrated"  # subject: the site it was cheaper at; found: micro-yen that the move gains
    SUPERSEDED = "superseded"  # a newer attempt holds the fence
    LEASE_EXPIRED = "lease-expired"  # its guard stopped it: the agent or control was out of reach
    START_REFUSED = "start-refused"  # the one start claim was gone, or the lease was over
    LAUNCH_FAILED = "launch-failed"  # detail: the system's error
    SUPERVISOR_LOST = "supervisor-lost"  # the program that ran it died
    ENGINE_FORGOT = "engine-forgot"  # the engine no longer knows it
    DATA_LOST = "data-lost"  # subject: a manifest that no reachable site holds any more
    ERASED = "erased"  # its tenant's text was erased
    UPSTREAM = "upstream"  # subject: a task that did not succeed, which it waited for; of a workflow: which failed it
    NO_OUTPUT = "no-output"  # subject: a file that the task should have written; detail: what is wrong with it
    RETRIES_SPENT = "retries-spent"  # wanted: retries allowed
    # a report was refused
    UNKNOWN_ATTEMPT = "unknown-attempt"  # subject: attempt
    NOT_ITS_SITE = "not-its-site"  # subject: attempt; detail: the site that owns it
    NO_SUCH_MOVE = "no-such-move"  # subject: attempt; detail: state and event
    # a plan's placement was dropped
    STALE = "stale"  # subject: job; what it was planned on has changed


@quick
@dataclass(frozen=True, slots=True)
class Reason:
    """One reason with its figures; the code says what the fields mean and in which units."""

    code: Code
    subject: str = ""
    detail: str = ""
    wanted: int = 0
    found: int = 0


@quick
@dataclass(frozen=True, slots=True)
class Considered:
    """One row of `why`: a candidate site, what running there would mean, and why it was or wasn't taken.

    For an excluded site the figures are 0 and `reason` names the rule.
    """

    site: str
    flavor: str
    feasible: bool
    reason: Reason
    start: int = 0  # Instant
    end: int = 0  # Instant
    cost_micro_yen: int = 0  # electricity, nodes, carbon at its price, egress; lateness not included
    energy_j: int = 0
    carbon_mg: int = 0
    moved_bytes: int = 0
