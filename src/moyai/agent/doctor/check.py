"""What one look at an installation found. Words are in the reader's language; names and verdicts are for programs."""

from dataclasses import dataclass
from enum import StrEnum

from moyai.locale import t


class Verdict(StrEnum):
    """How it stands."""

    OK = "ok"
    WARN = "warn"  # it works, but not for long, or not in every way
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `mend` says what to do about it; "" where there is nothing to do."""

    name: str  # stable: "disk", "slurm-token", …
    verdict: Verdict
    what: str
    mend: str = ""


def ok(name: str, key: str, /, **figures: object) -> Check:
    """It is as it should be; `key` below "doctor." says so."""
    return Check(name, Verdict.OK, t(f"doctor.{key}", **figures))


def warn(name: str, key: str, /, **figures: object) -> Check:
    """It works, but; `key` says why, and `key`-mend what to do."""
    return Check(name, Verdict.WARN, t(f"doctor.{key}", **figures), t(f"doctor.{key}-mend", **figures))


def bad(name: str, key: str, /, **figures: object) -> Check:
    """It does not work; `key` says why, and `key`-mend what to do."""
    return Check(name, Verdict.BAD, t(f"doctor.{key}", **figures), t(f"doctor.{key}-mend", **figures))
