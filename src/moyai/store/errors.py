"""What can go wrong with a log. Every message says what is wrong, where, and what to do."""


class LogError(Exception):
    """Any trouble with a log that is not damage to one event (that is `CorruptRecord` of the model)."""


class NotALog(LogError):
    """There is no log there, or the file is something else, or a newer Moyai wrote it."""


class Unreadable(LogError):
    """The log can't be opened or read: no permission, or the disk fails."""


class Unwritable(LogError):
    """The log can't be written: read-only, vanished, locked, or the disk fails. Nothing of the append is in effect."""


class LogFull(Unwritable):
    """The disk is full. The log is as it was before the append, and takes the same append once there is room."""


class StaleEpoch(LogError):
    """Another control plane took over: this one must append nothing more and end."""

    def __init__(self, epoch: int, stored: int) -> None:
        super().__init__(
            f"this control plane has epoch {epoch}, but the log is at epoch {stored}: another one took over; "
            "this one must stop"
        )
        self.epoch = epoch
        self.stored = stored


class OutOfStep(LogError):
    """Records that do not follow the log's head. A defect of the caller: its state is not the log's."""


class Away(LogError):
    """The database can't be reached. Whether the last append is in effect is not known until it can be again."""


class Led(LogError):
    """Another control plane leads this log."""

    def __init__(self, place: str, where: str, left_us: int) -> None:
        super().__init__(f"{place}: another control plane leads ({where}); its lease runs for {left_us / 1e6:.1f} s")
        self.where = where
        self.left_us = left_us
