"""The one error that the client raises for something a person can mend."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moyai.model.specs.problems import Problem


class MoyaiError(Exception):
    """What was wrong, in one sentence; where; and what to do about it.

    `code` is a stable word for programs: the server's own codes ("unknown-job", "refused", …), or one of the client's:
    "unreachable", "start-failed", "too-large", "not-a-directory", "unreadable", "bad-spec", "timeout", "not-moyai".
    """

    def __init__(self, code: str, message: str, hint: str = "", where: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.where = where
        self.status = status  # the HTTP status behind it; 0 where there was none

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n{self.hint}" if self.hint else text


class BadSpec(MoyaiError):
    """A workload that can't be taken, with everything that is wrong with it."""

    def __init__(self, problems: "tuple[Problem, ...]", message: str) -> None:
        super().__init__("bad-spec", message)
        self.problems = problems
