"""Make a choice of sites fit, and then cheaper: one task, two that swap, or two that are linked, at a time.

Shapes: T tasks, S sites, P pairs of linked tasks. A choice is (T,) sites; `use` (S,) is what it takes of each.
"""

from dataclasses import dataclass

import numpy as np

from moyai.plan.dag_exact import F64, I64, Pairs

SLACK = 1e-9
"""What sums of floats may be off, in parts."""


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What stays the same while choices are compared."""

    run: F64  # (T, S) inf: it can't run there
    first: I64  # (P,) the lower task of each pair
    second: I64  # (P,)
    move: F64  # (P, S, S)
    demand: F64  # (T,)
    room: F64  # (S,)

    @staticmethod
    def of(run: F64, pairs: Pairs, demand: F64, room: F64) -> "Search":
        """From costs by pair."""
        sites = run.shape[1]
        ends = np.array(list(pairs), np.int64).reshape(-1, 2)
        move = np.stack(list(pairs.values())) if pairs else np.zeros((0, sites, sites))
        return Search(run, ends[:, 0], ends[:, 1], move, demand, room)

    def cost(self, choice: I64) -> float:
        """What it costs in all."""
        moves = self.move[np.arange(len(self.move)), choice[self.first], choice[self.second]]
        return float(self.run[np.arange(len(choice)), choice].sum() + moves.sum())

    def use(self, choice: I64) -> F64:
        """(S,): what it takes of each site."""
        return np.bincount(choice, self.demand, len(self.room)).astype(np.float64)

    def dearer(self, choice: I64) -> F64:
        """(T, S): how much dearer it gets if one task goes elsewhere and all others stay."""
        cost = self.run.copy()
        each = np.arange(len(self.move))
        np.add.at(cost, self.first, self.move[each, :, choice[self.second]])
        np.add.at(cost, self.second, self.move[each, choice[self.first], :])
        return cost - cost[np.arange(len(choice)), choice][:, None]

    def together(self, choice: I64, dearer: F64) -> F64:
        """(P, S): how much dearer it gets if both tasks of a pair go to one site."""
        each = np.arange(len(self.move))
        a, b = choice[self.first], choice[self.second]
        now = self.move[each, a, b][:, None]
        alone = self.move[each, :, b] + self.move[each, a, :]  # `dearer` counts each as if the other stayed
        both = np.diagonal(self.move, axis1=1, axis2=2)
        return dearer[self.first] + dearer[self.second] - alone + now + both


def largest_first(search: Search) -> I64 | None:
    """A choice that fits, moves left aside: each task, the largest first, at the cheapest site that has room.

    None where a task finds no room any more.
    """
    choice = np.zeros(len(search.demand), np.int64)
    spare = search.room.copy()
    for task in np.argsort(-search.demand, kind="stable"):
        cost = np.where(search.demand[task] > spare, np.inf, search.run[task])
        choice[task] = cost.argmin()
        if not np.isfinite(cost[choice[task]]):
            return None
        spare[choice[task]] -= search.demand[task]
    return choice


def repaired(search: Search, choice: I64) -> I64 | None:
    """The choice with tasks moved off sites that are too full: always the move that costs least for what it frees.

    None where a site stays too full and nothing of it fits elsewhere.
    """
    choice = choice.copy()
    each = np.arange(len(choice))
    while ((use := search.use(choice)) > search.room).any():
        freed = np.minimum(search.demand, np.maximum(use - search.room, 0.0)[choice])
        dearer = search.dearer(choice)
        dearer[use[None, :] + search.demand[:, None] > search.room] = np.inf
        dearer[each, choice] = np.inf
        dearer[freed <= 0] = np.inf
        task, to = divmod(int((dearer / np.maximum(freed, SLACK)[:, None]).argmin()), len(use))
        if not np.isfinite(dearer[task, to]):
            return None
        choice[task] = to
    return choice


def polished(search: Search, choice: I64, *, steps: int = 0, stay: int = 7) -> I64:
    """A choice that fits and costs no more than `choice`, which fits.

    The cheapest step is taken while it helps, and then `steps` more, cheaper or not, in which a task that moved stays
    where it is for `stay` of them; the best of all that were seen. Source: tabu search, Glover 1989.
    """
    choice = choice.copy()
    each = np.arange(len(choice))
    cost = search.cost(choice)
    best, least = choice.copy(), cost
    slack = SLACK * max(1.0, abs(cost))
    free_at = np.zeros(len(choice), np.int64)
    beyond = 0
    while True:
        dearer = search.dearer(choice)
        use = search.use(choice)
        spare = search.room - use
        held = free_at > beyond
        one = np.where(search.demand[:, None] > spare, np.inf, dearer)
        one[each, choice] = np.inf
        one[held] = np.inf
        two = _swaps(search, choice, dearer, spare)
        two[held] = two[:, held] = np.inf
        pair = _pairs(search, choice, dearer, spare)
        pair[held[search.first] | held[search.second]] = np.inf
        tops = [float(m.min(initial=np.inf)) for m in (one, two, pair)]
        kind = int(np.argmin(tops))
        if not np.isfinite(tops[kind]):
            return best
        if tops[kind] >= -slack:
            if beyond >= steps:
                return best
            beyond += 1
        elif beyond:
            beyond += 1
            if beyond > steps:
                return best
        if kind == 0:
            task, to = divmod(int(one.argmin()), len(spare))
            moved, sites = [task], [to]
        elif kind == 1:
            a, b = divmod(int(two.argmin()), len(choice))
            moved, sites = [a, b], [int(choice[b]), int(choice[a])]
        else:
            p, to = divmod(int(pair.argmin()), len(spare))
            moved, sites = [int(search.first[p]), int(search.second[p])], [to, to]
        choice[moved] = sites
        free_at[moved] = beyond + stay
        cost = search.cost(choice)
        if cost < least - slack:
            best, least = choice.copy(), cost


def _swaps(search: Search, choice: I64, dearer: F64, spare: F64) -> F64:
    """(T, T): how much dearer it gets if two tasks that aren't linked swap sites; inf where that doesn't fit."""
    two = dearer[:, choice] + dearer[:, choice].T
    net = search.demand[None, :] - search.demand[:, None]  # what the first one's site takes more
    two[(net > spare[choice][:, None]) | (-net > spare[choice][None, :])] = np.inf
    two[choice[:, None] == choice[None, :]] = np.inf
    two[search.first, search.second] = two[search.second, search.first] = np.inf
    return two


def _pairs(search: Search, choice: I64, dearer: F64, spare: F64) -> F64:
    """(P, S): `together` where both tasks leave a site for one other, and fit there; inf elsewhere."""
    pair = search.together(choice, dearer)
    a, b = search.first, search.second
    pair[(search.demand[a] + search.demand[b])[:, None] > spare] = np.inf
    each = np.arange(len(a))
    pair[each, choice[a]] = pair[each, choice[b]] = np.inf
    return pair
