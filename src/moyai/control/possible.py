"""Whether what a person asks for could ever be: its datasets exist and allow the use, and some site could run it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from moyai.control.refused import Refused, near
from moyai.control.residency import Rule
from moyai.control.state import State, dataset_key
from moyai.model.ids import DatasetName
from moyai.model.site import Flavor, SiteProfile, within
from moyai.model.specs.quantity import need_words
from moyai.model.workload import DataUse, JobOrder, Need


def resolve_data(state: State, order: JobOrder, versions: Mapping[DatasetName, list[int]] | None = None) -> JobOrder:
    """The order with a version for every dataset. `versions`: of `versions_of`, where many orders are looked at.

    Raises Refused: a dataset or version that isn't there, or a use that it doesn't allow.
    """
    if not order.data:
        return order
    known = versions_of(state) if versions is None else versions
    uses: list[DataUse] = []
    for use in order.data:
        there = known.get(use.dataset)
        if not there:
            raise Refused(422, f"data: there is no dataset {use.dataset!r}", near(use.dataset, sorted(known)))
        version = use.version or there[-1]
        if version not in there:
            raise Refused(
                422,
                f"data: {use.dataset} has no version {version}",
                f"it has {', '.join(str(v) for v in there)}",
            )
        allowed = state.datasets[dataset_key(use.dataset, version)].profile.purposes
        if allowed and use.purpose not in allowed:
            raise Refused(
                422,
                f"data: {use.dataset}@{version} may not be used for {use.purpose or 'an unnamed purpose'!r}",
                f"purposes allowed: {', '.join(allowed)}",
            )
        uses.append(replace(use, version=version))
    return replace(order, data=tuple(uses))


def versions_of(state: State) -> Mapping[DatasetName, list[int]]:
    """The versions of every dataset, ascending."""
    found: dict[DatasetName, list[int]] = {}
    for dataset in state.datasets.values():
        found.setdefault(dataset.profile.name, []).append(dataset.profile.version)
    return {name: sorted(versions) for name, versions in found.items()}


def check_possible(state: State, order: JobOrder, more: Sequence[Rule] = ()) -> None:
    """Refuse what no declared site could ever run, whether its agent is there or not. Raises Refused.

    `more`: residency rules beside those of the order and its datasets.
    """
    if not state.sites:
        raise Refused(422, "no site is declared", "declare one: moyai up --fleet FILE")
    rules = [("residency", order.residency), *more]
    for use in order.data:
        profile = state.datasets[dataset_key(use.dataset, use.version)].profile
        rules.append((f"dataset {profile.name}@{profile.version}", profile.residency))
    strict = [codes for _, codes in rules if codes]
    allowed: list[SiteProfile] = []
    for name in sorted(state.sites):
        site = state.sites[name].profile
        if not strict or all(within(site.jurisdiction, codes) for codes in strict):
            allowed.append(site)
    if not allowed:
        said = "; ".join(f"{who} allows {', '.join(codes)}" for who, codes in rules if codes)
        places = ", ".join(f"{n} ({state.sites[n].profile.jurisdiction})" for n in sorted(state.sites))
        raise Refused(422, f"residency excludes every site: {said}", f"sites: {places}")
    need = order.need
    roomy = False
    for site in allowed:
        for flavor in site.flavors:
            ok = (
                need.cores <= flavor.cores
                and need.memory_bytes <= flavor.memory_bytes
                and (not need.accelerators or need.accelerator == flavor.accelerator)
                and need.accelerators <= flavor.accelerators
            )
            if not ok:
                continue
            roomy = True
            if order.nodes <= flavor.count * _per_node(order, flavor.cores, flavor.memory_bytes, flavor.accelerators):
                return
    has = "; ".join(f"{s.name}: " + ", ".join(_flavor_words(f) for f in s.flavors) for s in allowed)
    if roomy:
        raise Refused(422, f"nodes: {order.nodes} at once fit no site", f"allowed sites have {has}")
    raise Refused(422, f"resources: no site has a node with {need_words(need)}", f"allowed sites have {has}")


def _per_node(order: JobOrder, cores: int, memory_bytes: int, accelerators: int) -> int:
    """How many ranks of an order one empty node holds."""
    need = order.need
    fits = [cores // need.cores] if need.cores else []
    if need.memory_bytes:
        fits.append(memory_bytes // need.memory_bytes)
    if need.accelerators:
        fits.append(accelerators // need.accelerators)
    return min(fits, default=order.nodes)


def _flavor_words(flavor: Flavor) -> str:
    node = Need(flavor.cores, flavor.memory_bytes, flavor.accelerator, flavor.accelerators)
    return f"{flavor.count} × {flavor.name} ({need_words(node)})"
