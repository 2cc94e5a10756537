"""The agent's journal as keys and values: what is in it, and how it is read again after a crash.

```
meta                         incarnation, term, epoch, cursor, acknowledged reports
report/<number>              a report that control has not acknowledged
launch/<attempt>             the launch as it came
mark/<attempt>               what became of it: its claim, its start, its stop
checkpoint/<attempt>/<name>  a checkpoint of it that was reported
fetch/<transfer>  adopt/<dataset>@<version>  drop/<manifest>   commands under way
held/<manifest>              a manifest that lies here, with the report that said so where it is a task's file
```
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from moyai.model.codec import DecodeError, decode, decode_numbered, decode_report, encode
from moyai.model.exchange import Numbered, Report
from moyai.model.ids import SiteName
from moyai.model.quick import quick
from moyai.model.reasons import Reason
from moyai.model.units import Instant

META = "meta"
REPORTED = b"report/"
"""Before the number of a report in the entry of a file that lies here."""


class ForeignJournal(ValueError):
    """The journal belongs to another site, or its entries can't be read."""


@quick
@dataclass(frozen=True, slots=True)
class Meta:
    """The journal's head. `cursor`: the highest command taken; `acked`: the highest report known to be in the log."""

    site: SiteName
    incarnation: str
    term: int = 0
    epoch: int = 0
    cursor: int = 0
    acked: int = 0


@quick
@dataclass(frozen=True, slots=True)
class Mark:
    """What became of a launch. The first nonce that claims it holds the claim for good."""

    nonce: str = ""
    ranks: tuple[int, ...] = ()  # that claimed their start
    started_at: Instant = Instant(0)
    stop: Reason | None = None


@dataclass(slots=True)
class Entries:
    """A journal, read."""

    meta: Meta | None = None
    reports: dict[int, Report] = field(default_factory=dict[int, Report])  # ascending
    launches: dict[str, Numbered] = field(default_factory=dict[str, Numbered])
    marks: dict[str, Mark] = field(default_factory=dict[str, Mark])
    checkpoints: dict[str, dict[str, None]] = field(default_factory=dict[str, dict[str, None]])
    work: dict[str, Numbered] = field(default_factory=dict[str, Numbered])  # fetch/…, adopt/…, drop/…
    held: dict[str, int] = field(default_factory=dict[str, int])  # → number of its report as a file; 0: it is none


def report_key(number: int) -> str:
    """The key of a report; keys sort as numbers do."""
    return f"report/{number:016d}"


def read(entries: Mapping[str, bytes]) -> Entries:
    """The journal in `entries`, in any order. Raises ForeignJournal where one can't be read."""
    journal = Entries()
    for key in sorted(entries):
        try:
            _read_entry(journal, key, entries[key])
        except DecodeError as error:
            raise ForeignJournal(f"journal entry {key!r} can't be read: {error}") from None
    return journal


def _read_entry(journal: Entries, key: str, value: bytes) -> None:
    kind, _, rest = key.partition("/")
    match kind:
        case "meta":
            journal.meta = decode(value, Meta)
        case "report":
            journal.reports[int(rest)] = decode_report(value)
        case "launch":
            journal.launches[rest] = decode_numbered(value)
        case "mark":
            journal.marks[rest] = decode(value, Mark)
        case "checkpoint":
            attempt, _, name = rest.partition("/")
            journal.checkpoints.setdefault(attempt, {})[name] = None
        case "fetch" | "adopt" | "drop":
            journal.work[key] = decode_numbered(value)
        case "held":
            journal.held[rest] = int(value[len(REPORTED) :]) if value.startswith(REPORTED) else 0
        case _:
            raise ForeignJournal(f"journal entry {key!r} is of no known kind; a newer version of Moyai wrote it")


__all__ = ["META", "Entries", "ForeignJournal", "Mark", "Meta", "encode", "read", "report_key"]
