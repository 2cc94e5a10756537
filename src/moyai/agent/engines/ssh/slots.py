"""Which machine stands for which node number of a flavor. Pure.

Control counts nodes from 0 and packs what runs on each. So a number keeps its machine while that lives, a machine has
one number at most, and only one that is idle gets another: what runs on it is counted under the number it had.
"""

from collections.abc import Collection, Mapping, Sequence

from moyai.model.ids import FlavorName


class Slots:
    """The numbers of each flavor's machines."""

    def __init__(self, machines: Mapping[FlavorName, Sequence[str]]) -> None:
        self._machines = {flavor: tuple(names) for flavor, names in machines.items()}
        self._slots: dict[FlavorName, list[str | None]] = {f: list(names) for f, names in self._machines.items()}

    def seed(self, flavor: FlavorName, number: int, machine: str) -> None:
        """Something placed on node `number` runs on `machine`: let it keep that number, as far as can be."""
        slots = self._slots.get(flavor, [])
        if machine in slots and 0 <= number < len(slots):
            at = slots.index(machine)
            slots[at], slots[number] = slots[number], machine

    def update(self, living: Collection[str], busy: Collection[str]) -> None:
        """Machines came or went. `busy`: those on which something runs or may run."""
        for flavor, slots in self._slots.items():
            for number, name in enumerate(slots):
                if name is not None and name not in living:
                    slots[number] = None
            spare = [n for n in self._machines[flavor] if n in living and n not in busy and n not in slots]
            for number, name in enumerate(slots):
                if name is None and spare:
                    slots[number] = spare.pop(0)
            while None in slots:
                gap = slots.index(None)
                idle = [n for n in range(gap + 1, len(slots)) if (m := slots[n]) is not None and m not in busy]
                if not idle:
                    break
                slots[gap], slots[idle[-1]] = slots[idle[-1]], None

    def count(self, flavor: FlavorName) -> int:
        """How many nodes can be used: the numbers from 0 that have a machine each."""
        slots = self._slots.get(flavor, [])
        return slots.index(None) if None in slots else len(slots)

    def machine(self, flavor: FlavorName, number: int) -> str | None:
        """The machine of a number, or None where it has none now."""
        slots = self._slots.get(flavor, [])
        return slots[number] if 0 <= number < len(slots) else None
