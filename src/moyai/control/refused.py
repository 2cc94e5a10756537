"""How control says no: with a status, what is wrong, and what to do."""

import difflib


class Refused(Exception):
    """A request that control does not take. `status` is the HTTP status that says the same, `code` a word for it."""

    def __init__(self, status: int, message: str, hint: str = "", retry_after_us: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint
        self.retry_after_us = retry_after_us
        self.code = code


def near(name: str, known: list[str]) -> str:
    """A hint for a name that isn't there: the one that is meant, or those that are."""
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known[:12])}" if known else "there is none yet"
