"""A picture of replays: queue, power and deadlines over time, and how busy each site is; one line for each policy."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moyai.twin.report.parquet import Missing

if TYPE_CHECKING:
    from moyai.twin.report.course import Course

OURS = "moyai"
WIDTH_IN = 12.8
DPI = 100
COLUMNS = 4
LEAST_HIT_SPAN = 95.0
"""The axis of deadlines kept reaches down to this at least, in %."""
PLAIN = "#c1121f"
"""The colour of ours. The others are told apart by colour and dash (Okabe & Ito: safe for colour-blind readers)."""
_OTHERS = ("#0072b2", "#e69f00", "#009e73", "#56b4e9", "#cc79a7", "#5f5f5f", "#8c6d31", "#b59f00")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)))
_MISSING = "a picture needs Matplotlib; install it: pip install 'moyai[twin]'"
_NOTE_WIDTH = 220
_NOTE_LINES = 12


def draw(place: Path, stem: str, title: str, found: "Sequence[Course]", notes: Sequence[str]) -> None:
    """Write `stem`.png (1280 pixels wide) and `stem`.svg into `place`. Raises Missing where Matplotlib isn't there."""
    plt = _plotting()
    with plt.rc_context(_STYLE):
        figure = _figure(plt, title, found, notes)
        for ending in ("png", "svg"):
            # Without a date and with fixed ids, equal results are equal files.
            metadata: dict[str, Any] = {"Date": None} if ending == "svg" else {"Software": None}
            figure.savefig(place / f"{stem}.{ending}", dpi=DPI, metadata=metadata)
        plt.close(figure)


_STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "svg.hashsalt": "moyai",
}


def check() -> None:
    """Raises Missing where Matplotlib isn't there: better before long work than after it."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise Missing(_MISSING)


def _plotting() -> Any:
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        raise Missing(_MISSING) from None
    return plt


def _figure(plt: Any, title: str, found: "Sequence[Course]", notes: Sequence[str]) -> Any:
    sites = sorted({site for course in found for site in course.busy_pct})
    columns = max(1, min(COLUMNS, len(sites)))
    rows = -(-len(sites) // columns)
    lines = textwrap.wrap(" · ".join(notes), _NOTE_WIDTH)[:_NOTE_LINES]
    below = 0.28 + 0.145 * len(lines)
    head = 0.95
    height = head + 2.95 + 1.95 * rows + 0.35 + below
    figure = plt.figure(figsize=(WIDTH_IN, height))
    grid = figure.add_gridspec(
        1, 3, left=0.055, right=0.985, top=1 - head / height, bottom=1 - (head + 2.15) / height, wspace=0.2
    )
    figure.text(0.012, 1 - 0.3 / height, title, fontsize=14, fontweight="bold", va="center")
    styles = styles_of([course.policy for course in found])
    panels = (
        ("jobs that wait", [course.queued for course in found]),
        ("power of all sites, kW", [course.power_kw for course in found]),
        ("deadlines kept so far, %", [course.hit_pct for course in found]),
    )
    for index, (name, values) in enumerate(panels):
        axes = figure.add_subplot(grid[0, index])
        _lines(axes, name, found, values, styles)
        if index < 2:
            axes.set_ylim(bottom=0)
        else:  # a tenth of a point must not look like a cliff
            axes.set_ylim(min(axes.get_ylim()[0], LEAST_HIT_SPAN), 100.5)
    if sites:
        top = head + 2.95
        below_grid = figure.add_gridspec(
            rows, columns, left=0.055, right=0.985, top=1 - top / height, bottom=(below + 0.35) / height,
            wspace=0.12, hspace=0.42,
        )  # fmt: skip
        for index, site in enumerate(sites):
            axes = figure.add_subplot(below_grid[index // columns, index % columns])
            _lines(axes, f"{site}: busy, %", found, [course.busy_pct.get(site) for course in found], styles)
            axes.set_ylim(0, 104)
            if index + columns < len(sites):
                axes.set_xlabel("")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(0.008, 1 - 0.43 / height), ncols=min(len(labels), 12),
        frameon=False, handlelength=2.2, columnspacing=1.4, borderaxespad=0,
    )  # fmt: skip
    for number, line in enumerate(lines):
        figure.text(0.012, (below - 0.2 - 0.145 * number) / height, line, fontsize=7.5, color="#555555", va="top")
    return figure


def styles_of(policies: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How each policy's line looks: ours thick, red and on top."""
    styles: dict[str, dict[str, Any]] = {}
    others = [policy for policy in policies if policy != OURS]
    for number, policy in enumerate(others):
        dash = _DASHES[(number // len(_OTHERS) + number) % len(_DASHES)]
        styles[policy] = {"color": _OTHERS[number % len(_OTHERS)], "linestyle": dash, "linewidth": 1.3, "zorder": 2}
    styles[OURS] = {"color": PLAIN, "linestyle": "-", "linewidth": 2.0, "zorder": 3}
    return styles


def _lines(
    axes: Any, name: str, found: "Sequence[Course]", values: Sequence[Any], styles: dict[str, dict[str, Any]]
) -> None:
    days = max((float(course.hours[-1]) for course in found if len(course.hours)), default=0.0) > 96
    for course, line in zip(found, values, strict=True):
        if line is not None:
            axes.plot(course.hours / (24 if days else 1), line, label=course.policy, **styles[course.policy])
    axes.set_title(name)
    axes.set_xlabel("days" if days else "hours", labelpad=1)
    axes.margins(x=0.01)
