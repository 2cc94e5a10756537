"""Times of day in traces."""

import re
from datetime import UTC, datetime, timedelta

from moyai.model.specs.problems import quoted
from moyai.twin.traces.rows import Wrong

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?")


def wall_us(column: str, text: str) -> int:
    """Microseconds from 1970-01-01 00:00:00 to the date and time `text`, both on the same clock, whichever it is.

    A fraction finer than microseconds is cut off. Raises Wrong, with the column, for anything else than
    "2017-09-04 10:30:41" with or without a fraction.
    """
    found = _TIME.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        moment = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    except ValueError:
        raise Wrong(f"{column}: {quoted(text)} isn't a time; write it as 2017-09-04 10:30:41") from None
    fraction: str | None = found[2]
    return (moment - _EPOCH) // _MICROSECOND + (int(fraction[:6].ljust(6, "0")) if fraction else 0)
