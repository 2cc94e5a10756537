"""The best plan of a small instance, and a bound that certifies it, by HiGHS (a mixed integer programme).

One variable for each class, option and start counts its jobs there. Starts are those that matter: a job of a best plan
begins when it can at the soonest, or when something ends that was in its way. Capacity counts in node units at those
instants, so a solution may still not fit node by node; it is placed again, and taken only where it is worth more.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from moyai.model.units import MICRO_YEN
from moyai.plan.bound import best_alone
from moyai.plan.explain import Offer, rows
from moyai.plan.greedy import Draft, Placed
from moyai.plan.problem import JobClass, Option, Problem
from moyai.plan.solver import Solution, solve
from moyai.plan.timeline import Timeline
from moyai.plan.units import MEASURES, measures, room_at


@dataclass(frozen=True, slots=True)
class Cell:
    """A variable: an option of a class with a start of its work."""

    cls: int
    option: Option
    start: int
    value: int


@dataclass(frozen=True, slots=True)
class Row:
    """Σ weight · variable ≤ (or, if `at_least`, ≥) limit."""

    columns: tuple[int, ...]
    weights: tuple[float, ...]
    limit: float
    at_least: bool = False


def improved(problem: Problem, draft: Draft, start: Timeline, bound: int) -> tuple[Draft, int]:
    """(the better of `draft` and the solver's plan, the lower of `bound` and the solver's).

    Nothing is done where the instance is larger than the policy's `exact_below_cells`. A plan in which a job ends later
    than in the draft is taken only if it keeps deadlines that the draft misses: reservations stand otherwise.
    """
    best = [best_alone(cls, start) for cls in problem.classes]
    cells = _cells(problem, draft, start, best)
    if cells is None:
        return draft, bound
    columns = [*cells, *_leftovers(problem)]
    limits = [*_demand(problem, columns), *_capacity(problem, start, cells)]
    hint = _hint(problem, draft, columns)
    free = solve(problem, columns, limits, best, hint, worth=draft.value)
    if free is None:
        return draft, bound
    base = sum(len(cls.jobs) * top for cls, top in zip(problem.classes, best, strict=True))
    bound = min(bound, max(draft.value, base + ceil(free.dual_micro_yen)))
    found = _placed_again(problem, start, columns, free)
    if found is not None and found.value > draft.value and _fair(problem, draft, found):
        return found, bound
    if (bound - draft.value) * 1_000 <= problem.policy.exact_gap_milli * max(abs(bound), MICRO_YEN):
        return draft, bound
    kept = solve(problem, columns, [*limits, *_no_later(problem, draft, columns)], best, hint, worth=draft.value)
    found = _placed_again(problem, start, columns, kept) if kept is not None else None
    if found is not None and found.value > draft.value and _fair(problem, draft, found):
        return found, bound
    return draft, bound


def _cells(problem: Problem, draft: Draft, start: Timeline, best: Sequence[int]) -> list[Cell] | None:
    """Every start that a plan better than the draft may use; None where they are too many.

    A start that costs its job more than all jobs together can gain over the draft is in no better plan.
    """
    spare = sum(len(cls.jobs) * top for cls, top in zip(problem.classes, best, strict=True)) - draft.value
    islands: dict[tuple[str, str], list[tuple[int, Option]]] = {}
    for i, cls in enumerate(problem.classes):
        for option in cls.options:
            name = "" if option.site in problem.idle_w else option.flavor.name  # power is shared by all of a site
            islands.setdefault((option.site, name), []).append((i, option))
    index = {id(cls): i for i, cls in enumerate(problem.classes)}
    drafted: dict[tuple[int, int], set[int]] = {}
    for placed in draft.placed:
        drafted.setdefault((index[id(placed.cls)], id(placed.option)), set()).add(placed.quote.start)
    cells: list[Cell] = []
    room = problem.policy.exact_below_cells
    for island in sorted(islands):
        options = islands[island]
        last = [_last_start(problem, problem.classes[i], option, best[i] - spare) for i, option in options]
        ends = {end for key in sorted({o.pool for _, o in options}) for _, end in start.busy(key)}
        starts = _sums(
            sorted(ends | {o.soonest for _, o in options}),
            [(option.run_us, len(problem.classes[i].jobs)) for i, option in options],
            last=max(last),
            most=room,
        )
        if starts is None:
            return None
        for (i, option), until in zip(options, last, strict=True):
            cls = problem.classes[i]
            mine = {at for at in starts if option.soonest <= at <= until} | drafted.get((i, id(option)), set())
            room -= len(mine) * len(cls.jobs)
            if room < 0:
                return None
            cells.extend(Cell(i, option, at, cls.best_value(option, at)) for at in sorted(mine))
    return cells


def _last_start(problem: Problem, cls: JobClass, option: Option, least: int) -> int:
    """The last start within the horizon at which an option is worth `least`; before its soonest where there is none."""
    low, high = option.soonest - 1, problem.last_start + option.soonest - cls.earliest
    while low < high:
        middle = (low + high + 1) // 2
        if cls.best_value(option, middle) >= least:
            low = middle
        else:
            high = middle - 1
    return low


def _sums(bases: Sequence[int], runs: Sequence[tuple[int, int]], *, last: int, most: int) -> list[int] | None:
    """Every base plus any sum of the runs, each (length, times) used as often as it may; up to `last`.

    When jobs are moved forward until something is in the way, all of them start at one of these. None where they are
    more than `most`.
    """
    times: dict[int, int] = {}
    for length, count in runs:
        times[length] = times.get(length, 0) + count
    found = {base for base in bases if base <= last}
    for length, count in sorted(times.items(), reverse=True):
        found |= {at + k * length for at in found for k in range(1, min(count, (last - at) // length) + 1)}
        if len(found) > most:
            return None
    return sorted(found)


def _leftovers(problem: Problem) -> list[Cell | int]:
    """A variable for the jobs of each class that get no place: the index of the class."""
    return [i for i, cls in enumerate(problem.classes) if cls.options]


def _demand(problem: Problem, columns: Sequence[Cell | int]) -> list[Row]:
    """Every job has one place or none: as equalities, written as two rows."""
    found: dict[int, list[int]] = {}
    for j, column in enumerate(columns):
        found.setdefault(column if isinstance(column, int) else column.cls, []).append(j)
    made: list[Row] = []
    for i, mine in found.items():
        jobs = float(len(problem.classes[i].jobs))
        made.extend(Row(tuple(mine), (1.0,) * len(mine), jobs, at_least) for at_least in (False, True))
    return made


def _capacity(problem: Problem, start: Timeline, cells: Sequence[Cell]) -> list[Row]:
    """Node units of every pool and power of every capped site, at every instant at which something may start."""
    made: list[Row] = []
    pools = sorted({c.option.pool for c in cells})
    for key in pools:
        mine = [(j, c) for j, c in enumerate(cells) if c.option.pool == key]
        flavor = mine[0][1].option.flavor
        units = {i: measures(flavor, problem.classes[i].size) for i in sorted({c.cls for _, c in mine})}
        instants = _during(mine)
        rooms = [room_at(flavor, start.busy(key), at) for at, _ in instants]
        keep: list[int] = []
        for r in range(MEASURES):
            weaker = any(
                all(u[r] <= u[k] for u in units.values()) and all(room[r] >= room[k] for room in rooms) for k in keep
            )
            if any(u[r] for u in units.values()) and not weaker:
                keep.append(r)
        for (_, over), room in zip(instants, rooms, strict=True):
            for r in keep:
                weights = tuple(problem.classes[cells[j].cls].ranks * units[cells[j].cls][r] for j in over)
                made.append(Row(over, weights, room[r]))
    for site in sorted({key[0] for key in pools} & set(problem.idle_w)):
        mine = [(j, c) for j, c in enumerate(cells) if c.option.site == site]
        view = next(v for v in problem.sites if v.profile.name == site)
        spare_w = view.profile.power_cap_w - problem.idle_w[site]
        held = [(b.power_w, end) for key in start.pools_of(site) for b, end in start.busy(key)]
        for at, over in _during(mine):
            room = spare_w - sum(w for w, end in held if end > at)
            made.append(Row(over, tuple(float(cells[j].option.power_w) for j in over), max(0, room)))
    return made


def _during(mine: Sequence[tuple[int, Cell]]) -> list[tuple[int, tuple[int, ...]]]:
    """(an instant at which something may start, the variables that would run then)."""
    instants = sorted({c.start for _, c in mine})
    over: list[list[int]] = [[] for _ in instants]
    for j, cell in mine:
        first = bisect_left(instants, cell.start)
        for k in range(first, bisect_left(instants, cell.start + cell.option.run_us)):
            over[k].append(j)
    return [(at, tuple(columns)) for at, columns in zip(instants, over, strict=True)]


def _no_later(problem: Problem, draft: Draft, columns: Sequence[Cell | int]) -> list[Row]:
    """By each end of the draft, no fewer jobs of that class are done than in the draft."""
    made: list[Row] = []
    for i, cls in enumerate(problem.classes):
        ends = sorted(p.quote.end for p in draft.placed if p.cls is cls)
        for count, end in enumerate(ends, start=1):
            if count < len(ends) and ends[count] == end:
                continue
            mine = [
                j
                for j, c in enumerate(columns)
                if isinstance(c, Cell) and c.cls == i and c.start + c.option.run_us <= end
            ]
            made.append(Row(tuple(mine), (1.0,) * len(mine), float(count), at_least=True))
    return made


def _hint(problem: Problem, draft: Draft, columns: Sequence[Cell | int]) -> list[float]:
    """The draft as values of the variables."""
    index = {id(cls): i for i, cls in enumerate(problem.classes)}
    place: dict[tuple[int, int, int], int] = {}
    left: dict[int, int] = {}
    for j, column in enumerate(columns):
        if isinstance(column, int):
            left[column] = j
        else:
            place[column.cls, id(column.option), column.start] = j
    values = [0.0] * len(columns)
    for placed in draft.placed:
        j = place.get((index[id(placed.cls)], id(placed.option), placed.quote.start))
        if j is not None:
            values[j] += 1
    for unplaced in draft.left:
        j = left.get(index[id(unplaced.cls)])
        if j is not None:
            values[j] += 1
    return values


def _placed_again(problem: Problem, start: Timeline, columns: Sequence[Cell | int], solution: Solution) -> Draft | None:
    """The solver's plan node by node, each job as early as it fits from the start that the solver gave it.

    None where the solver gave no plan, or a job of it fits nowhere within the horizon.
    """
    if not solution.counts:
        return None
    order = {job.job: i for i, (job, _) in enumerate(problem.queue)}
    chosen: list[tuple[int, int, int, Cell]] = []
    for j, column in enumerate(columns):
        if isinstance(column, Cell) and solution.counts[j]:
            first = order[problem.classes[column.cls].jobs[0].job]
            chosen.append((column.start, first, j, column))
    chosen.sort(key=lambda c: c[:3])
    draft = Draft(start.copy())
    taken = [0] * len(problem.classes)
    for at, _, j, cell in chosen:
        cls = problem.classes[cell.cls]
        for _ in range(solution.counts[j]):
            job = cls.jobs[taken[cell.cls]]
            taken[cell.cls] += 1
            since = max(cls.earliest, at - (cell.option.soonest - cls.earliest))
            quote = draft.line.quote(cls, cell.option, since=since)
            if quote is None or quote.issue > problem.last_start:
                return None
            draft.place((job,), cls, (cell.option, quote), ())
    for cls, count in zip(problem.classes, taken, strict=True):
        if count < len(cls.jobs):
            offers = _offers(draft.line, cls)
            draft.leave(cls.jobs[count:], cls, offers, problem.last_start)
    draft.placed = [_explained(problem, draft.line, placed) for placed in draft.placed]
    return draft


def _offers(line: Timeline, cls: JobClass) -> list[Offer]:
    quotes = [(option, line.quote(cls, option)) for option in cls.options]
    return [(option, quote) for option, quote in quotes if quote is not None]


def _explained(problem: Problem, line: Timeline, placed: Placed) -> Placed:
    """The same with its rows: what the other sites would be beside the whole plan."""
    chosen: Offer = (placed.option, placed.quote)
    others = [offer for offer in _offers(line, placed.cls) if offer[0].site != placed.option.site]
    made = rows(placed.cls, [*others, chosen], chosen, problem.last_start)
    return Placed(placed.job, placed.cls, placed.option, placed.quote, placed.nodes, made)


def _fair(problem: Problem, draft: Draft, other: Draft) -> bool:
    """Whether no job ends later than in the draft, or the lateness of all falls."""
    if sum(p.late_us * p.cls.late_rate for p in other.placed) < sum(p.late_us * p.cls.late_rate for p in draft.placed):
        return True
    before: dict[int, list[int]] = {}
    for placed in draft.placed:
        before.setdefault(id(placed.cls), []).append(placed.quote.end)
    after: dict[int, list[int]] = {}
    for placed in other.placed:
        after.setdefault(id(placed.cls), []).append(placed.quote.end)
    for cls in problem.classes:
        old, new = sorted(before.get(id(cls), [])), sorted(after.get(id(cls), []))
        if len(new) < len(old) or any(b > a for a, b in zip(old, new, strict=False)):
            return False
    return True
