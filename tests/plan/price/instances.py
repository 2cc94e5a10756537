"""Small made-up instances, and HiGHS as the judge of what can be had in them."""

import numpy as np

from moyai.plan.price.instance import Columns, Instance, excess


def hours_of(run: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(lengths, flavors, buckets, buckets) hours of runs (lengths, flavors) in buckets of the given hours."""
    edges = np.concatenate([[0.0], np.cumsum(lengths)])
    buckets = len(lengths)
    hours = np.zeros((*run.shape, buckets, buckets))
    for start in range(buckets):
        for bucket in range(start, buckets):
            high = edges[bucket + 1] if bucket + 1 < buckets else np.inf
            used = np.minimum(edges[start] + run, high) - edges[bucket]
            hours[:, :, start, bucket] = np.maximum(used, 0)
    return hours


def small(
    seed: int,
    *,
    classes: int = 6,
    sites: int = 2,
    flavors: int = 2,
    buckets: int = 2,
    gangs: tuple[int, ...] = (1, 2, 4, 8),
    most_jobs: int = 4,
    room: float = 6.0,
) -> Instance:
    """An instance from a seed. About a third of the options are masked, and about half of the sites have a power cap."""
    r = np.random.default_rng(seed)
    bucket_hours = np.geomspace(1, 4, buckets)
    run = np.array([0.5, 2.0, 6.0])[:, None] / np.linspace(1, 2, flavors)
    kw = r.uniform(0.3, 1.2, (sites, flavors))
    capacity = r.uniform(0, 2 * room, (sites, flavors, 1)) * bucket_hours * r.uniform(0.5, 1, (sites, flavors, buckets))
    length = np.sort(r.integers(0, len(run), classes))
    value = r.uniform(1, 40, (classes, sites * flavors * buckets)) * np.array([0.5, 2, 6.0])[length][:, None]
    value[r.random(value.shape) < 0.3] = -1
    drawn = np.einsum("sfb,sf->sb", capacity, kw)
    power = np.where(r.random((sites, 1)) < 0.5, drawn * r.uniform(0.4, 0.9, (sites, 1)), np.inf)
    return Instance(
        value=value.astype(np.float32),
        jobs=r.integers(0, most_jobs + 1, classes),
        gang=r.choice(np.array(gangs), classes),
        length=length,
        hours=hours_of(run, bucket_hours),
        capacity=capacity,
        power=power,
        kw=kw,
    )


def best_by_highs(instance: Instance, *, whole: bool) -> float:
    """What the best plan is worth, of whole jobs or of parts, to HiGHS's tolerances."""
    import highspy

    cls, option = np.nonzero(instance.value > 0)
    if not len(cls):
        return 0.0
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("mip_rel_gap", 0.0)
    highs.setOptionValue("presolve", "off")
    gpus = instance.gang[cls]
    columns = [
        highs.addVariable(0, float(instance.jobs[k]), float(-instance.value[k, o]) * float(g))
        for k, o, g in zip(cls, option, gpus, strict=True)
    ]
    rows = np.zeros((len(instance.limits), len(cls)))
    for j in range(len(cls)):
        one = Columns(cls[j : j + 1], option[j : j + 1], np.ones(1, dtype=np.int64))
        rows[:, j] = used(instance, one)
    for k in range(instance.classes):
        mine = [columns[j] for j in np.flatnonzero(cls == k)]
        if mine:
            highs.addConstr(sum(mine) <= float(instance.jobs[k]))
    for row, limit in zip(rows, instance.limits, strict=True):
        mine = np.flatnonzero(row)
        if len(mine):
            highs.addConstr(sum(float(row[j]) * columns[j] for j in mine) <= float(limit))
    if whole:
        for column in columns:
            highs.changeColIntegrality(column.index, highspy.HighsVarType.kInteger)
    highs.run()
    return -float(highs.getInfo().objective_function_value)


def used(instance: Instance, columns: Columns) -> np.ndarray:
    """(prices,) what the columns take of each limit, one job after the other: a second way to count it."""
    sites, flavors, buckets = instance.shape
    hours, power = np.zeros(instance.capacity.shape), np.zeros(instance.power.shape)
    for cls, option, count in zip(columns.cls, columns.option, columns.count, strict=True):
        site, flavor, bucket = np.unravel_index(option, (sites, flavors, buckets))
        own = instance.hours[instance.length[cls], flavor, bucket] * float(instance.gang[cls] * count)
        hours[site, flavor] += own
        power[site] += own * instance.kw[site, flavor]
    return np.concatenate([hours.ravel(), power.ravel()])


def assert_sound(instance: Instance, columns: Columns) -> None:
    """No limit is exceeded, no job placed twice or where it may not be, by both ways of counting."""
    assert excess(instance, columns) == ""
    limits = np.concatenate([instance.capacity.ravel(), instance.power.ravel()])
    assert (used(instance, columns) <= limits * (1 + 1e-9) + 1e-9).all()
    assert (columns.count > 0).all()
    assert (np.bincount(columns.cls, columns.count, minlength=instance.classes) <= instance.jobs).all()
    assert (instance.value[columns.cls, columns.option] > 0).all()
