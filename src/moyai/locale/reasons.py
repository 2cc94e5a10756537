"""Reasons in words. What the fields of a reason hold is said at its code in `moyai.model.reasons`."""

from moyai.locale.catalogue import messages, placeholders, say
from moyai.locale.figures import Language
from moyai.model.reasons import Code, Reason

WORKLOAD = "workload"
"""The subject of a residency that the workload itself demands."""


def reason_text(reason: Reason, lang: Language) -> str:
    """A reason in a few words, its figures with their units.

    A code may have a second message, `reason-bare.<code>`, for a reason whose figures are all empty.
    """
    figures: dict[str, str | int] = {
        "subject": _subject(reason, lang),
        "detail": reason.detail,
        "wanted": reason.wanted,
        "found": reason.found,
    }
    key, bare = f"reason.{reason.code}", f"reason-bare.{reason.code}"
    known = messages(lang)
    if bare in known and not any(figures[name] for name, _ in placeholders(known[key])):
        key = bare
    return say(key, lang, **figures)


def _subject(reason: Reason, lang: Language) -> str:
    if reason.code is Code.RESIDENCY and reason.subject == WORKLOAD:
        return say("reason-subject.workload", lang)
    return reason.subject
