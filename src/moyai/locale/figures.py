"""Figures as people read them. Pure: an integer with its unit in, a short string out, in the words of a language."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

from moyai.model.units import J_PER_KWH, MICRO_YEN

Language = Literal["en", "ja"]

_SPANS: dict[Language, tuple[str, str, str, str, str]] = {
    "en": ("d", "h", "min", "s", "ms"),
    "ja": ("日", "時間", "分", "秒", "ミリ秒"),
}
_SIZES = ((10**15, "PB"), (10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_MEMORY = ((2**50, "PiB"), (2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
    9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
    24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}  # fmt: skip  # Linux's numbers: a site's report may be read on another system


def span(duration_us: int, lang: Language = "en") -> str:
    """A duration with its two largest units: "350 ms", "1.2 s", "12 s", "2 h 10 min"; 「2時間10分」."""
    sign = "-" if duration_us <= -500 else ""
    gap = "" if lang == "ja" else " "
    parts = [f"{count}{gap}{_SPANS[lang][index]}" for count, index in _span_parts(abs(duration_us))]
    return sign + gap.join(parts)


def _span_parts(duration_us: int) -> list[tuple[str, int]]:
    """The numbers of a duration in words, each with the index of its unit: d, h, min, s, ms."""
    millis = (duration_us + 500) // 1_000
    if millis < 1_000:
        return [(str(millis), 4)] if millis else [("0", 3)]
    if millis < 9_950:
        return [(f"{millis / 1_000:.1f}", 3)]
    whole = (duration_us + 500_000) // 1_000_000
    scales = (86_400, 3_600, 60, 1)
    largest = next(index for index, scale in enumerate(scales) if whole >= scale)
    if largest + 1 < len(scales):  # the second unit is rounded, so that 59 min 59 s beside hours is no lost hour
        second = scales[largest + 1]
        whole = (whole + second // 2) // second * second
        if largest and whole >= scales[largest - 1]:
            largest -= 1
    head, rest = divmod(whole, scales[largest])
    tail = rest // scales[largest + 1] if largest + 1 < len(scales) else 0
    return [(str(head), largest), (str(tail), largest + 1)] if tail else [(str(head), largest)]


def yen(micro_yen: int, lang: Language = "en") -> str:
    """Micro-yen as yen, with as many digits as say something: "¥0.0042", "¥12.3", "¥128,400"; 「12.3円」."""
    value = abs(micro_yen) / MICRO_YEN
    sign = "-" if micro_yen < 0 else ""
    return f"{sign}{_short(value)}円" if lang == "ja" else f"{sign}¥{_short(value)}"


def kwh(energy_j: int) -> str:
    """Joules as kWh: "0.003 kWh", "1.25 kWh", "1,204 kWh"."""
    return f"{_signed(energy_j, J_PER_KWH)} kWh"


def kg(milligrams: int) -> str:
    """Milligrams as kilograms: "0.002 kg", "1.25 kg"."""
    return f"{_signed(milligrams, 1_000_000)} kg"


def watts(power_w: int) -> str:
    """Power: "350 W", "1.25 kW", "2.4 MW"."""
    for unit, name in ((1_000_000, "MW"), (1_000, "kW")):
        if abs(power_w) >= unit:
            return f"{_signed(power_w, unit)} {name}"
    return f"{power_w} W"


def size(size_bytes: int) -> str:
    """Bytes in powers of ten, as links and disks count them: "0 B", "4.2 MB", "1.5 TB"."""
    return _scaled(size_bytes, _SIZES)


def memory(size_bytes: int) -> str:
    """Bytes in powers of two, as memory is counted: "512 MiB", "1.5 GiB"."""
    return _scaled(size_bytes, _MEMORY)


def rate(bytes_per_second: int) -> str:
    """A link's rate in bits, as links are sold: "10 Gbit/s"."""
    for unit, name in ((10**12, "Tbit/s"), (10**9, "Gbit/s"), (10**6, "Mbit/s"), (10**3, "kbit/s")):
        if bytes_per_second * 8 >= unit:
            return f"{_signed(bytes_per_second * 8, unit)} {name}"
    return f"{bytes_per_second * 8} bit/s"


def moment(instant: int, zone: tzinfo | None = None, now: int | None = None) -> str:
    """An instant on the clock of `zone` (None: this machine's): "2026-12-01 09:00:00", the time alone if it is today.

    "" where it is 0 (none); the number itself, in µs, where no calendar reaches it.
    """
    if not instant:
        return ""
    try:
        at = (_EPOCH + timedelta(microseconds=instant)).astimezone(zone)
        today = None if now is None else (_EPOCH + timedelta(microseconds=now)).astimezone(zone).date()
    except (OverflowError, ValueError):
        return f"{instant} µs"
    return at.strftime("%H:%M:%S") if at.date() == today else at.strftime("%Y-%m-%d %H:%M:%S")


def signal(number: int) -> str:
    """A signal by Linux's name for it: "SIGKILL (9)"."""
    return f"{_SIGNALS[number]} ({number})" if number in _SIGNALS else str(number)


def printable(text: str) -> str:
    """`text` with every character that a terminal would act on escaped: a job can't write to the reader's screen."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _short(value: float) -> str:
    if value == 0:
        return "0"
    if value >= 99.95:
        return f"{value:,.0f}"
    if value >= 9.995:
        return f"{value:.1f}".removesuffix(".0")
    if value >= 0.0995:
        return f"{value:.2f}".rstrip("0").removesuffix(".")
    return f"{value:.2g}" if value >= 0.000_1 else "<0.0001"


def _signed(value: int, unit: int) -> str:
    return ("-" if value < 0 else "") + _short(abs(value) / unit)


def _scaled(value: int, scale: tuple[tuple[int, str], ...]) -> str:
    for unit, name in scale:
        if abs(value) >= unit:
            return f"{_signed(value, unit)} {name}"
    return f"{value} B"
