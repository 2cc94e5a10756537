"""The peer's side of sky.py: SkyPilot's own optimizer on the tasks and catalogues of a JSON file, timed here.

Runs in an environment of its own (the peer pins other versions than Moyai): PYTHON -P _sky_peer.py QUESTION ANSWER.
Nothing is fetched: the catalogues are written under a home that sky.py makes and removes, and clouds count as enabled.
"""

import csv
import json
import os
import sys
import time
from pathlib import Path

VMS = (
    "InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "Price", "SpotPrice", "Region",
    "AvailabilityZone", "GpuInfo", "Arch", "Generation",
)  # fmt: skip


GCP_HOSTS = {"A100": "a2-highgpu-{}g", "V100": "n1-standard-{}"}
"""Google's machines and accelerators are priced apart: here the machine is free and the accelerator costs it all."""


def machines(cloud: str, name: str, count: int, price: float) -> list[dict[str, object]]:
    """The rows of a catalogue for `count` accelerators at so many dollars an hour."""
    row: dict[str, object] = {"Price": price, "Region": "one", "AvailabilityZone": "one-a", "Arch": "x86_64"}
    size = {"vCPUs": 12.0 * count, "MemoryGiB": 80.0 * count}
    held = {"AcceleratorName": name, "AcceleratorCount": float(count)}
    if cloud != "gcp":
        return [{**row, **size, **held, "InstanceType": f"{name.lower()}-{count}x"}]
    return [{**row, **size, "Price": 0.0, "InstanceType": GCP_HOSTS[name].format(count)}, {**row, **held}]


def write_catalogues(home: Path, offers: dict) -> None:
    """`offers`: cloud → accelerator → count → dollars an hour, as the files that SkyPilot reads."""
    folder = home / ".sky" / "catalogs" / "v8"
    for cloud, accelerators in offers.items():
        (folder / cloud).mkdir(parents=True)
        with (folder / cloud / "vms.csv").open("w", newline="") as file:
            rows = csv.DictWriter(file, VMS, restval="")
            rows.writeheader()
            for name, prices in accelerators.items():
                for count, price in prices.items():
                    rows.writerows(machines(cloud, name, int(count), price))
        for other in ("images.csv", "instance_quota_mapping.csv", "accelerator_quota_mapping.csv"):
            (folder / cloud / other).write_text("Tag,Region,OS,OSVersion,ImageId,CreationDate\n")
    (folder / "common").mkdir()
    names = sorted({name for accelerators in offers.values() for name in accelerators})
    rows = "".join(f'{name},"{sorted(offers)}",80\n' for name in names)
    (folder / "common" / "accelerators.csv").write_text(f"AcceleratorName,Clouds,MemoryGiB\n{rows}")


def main() -> int:
    """Answer the question: each workflow's clouds, and what it took."""
    question = json.loads(Path(sys.argv[1]).read_text())
    write_catalogues(Path(os.environ["HOME"]), question["offers"])
    began = time.perf_counter()
    import sky
    from sky import check, optimizer
    from sky.utils import registry

    imported_s = time.perf_counter() - began
    clouds = {name: registry.CLOUD_REGISTRY.from_str(name) for name in question["offers"]}
    check.get_cached_enabled_clouds_or_refresh = lambda *_, **__: list(clouds.values())

    def dag_of(workflow: dict) -> tuple:
        with sky.Dag() as dag:
            tasks = []
            for i, each in enumerate(workflow["tasks"]):
                task = sky.Task(f"t{i}", run="true")
                task.set_resources(sky.Resources(accelerators={each["accelerator"]: each["count"]}))
                task.set_time_estimator(lambda _, seconds=3600 * each["hours"]: seconds)
                task.set_outputs("CLOUD", each["gigabytes"])
                tasks.append(task)
            for sender, receiver in workflow["edges"]:
                tasks[sender] >> tasks[receiver]
        return dag, tasks

    answers = []
    workflows = question["workflows"]
    for workflow in [workflows[0], *workflows]:  # the first one once more before: it loads what is loaded lazily
        dag, tasks = dag_of(workflow)
        wall, cpu = time.perf_counter(), os.times()
        optimizer.Optimizer.optimize(dag, quiet=True)
        took = [b - a for a, b in zip(cpu[:4], os.times()[:4], strict=True)]
        seconds = time.perf_counter() - wall
        names = [type(task.best_resources.cloud) for task in tasks]
        answers.append(
            {
                "wall_s": seconds,
                "cpu_s": sum(took),
                "sites": [next(n for n, c in clouds.items() if type(c) is kind) for kind in names],
            }
        )
    # What it believes: which clouds offer a machine and at what price, and what each asks for data that leaves.
    offered: dict[str, dict[str, dict[str, float]]] = {name: {} for name in clouds}
    for accelerator, count in sorted({(t["accelerator"], t["count"]) for w in workflows for t in w["tasks"]}):
        _, tasks = dag_of(
            {"tasks": [{"accelerator": accelerator, "count": count, "hours": 1, "gigabytes": 1}], "edges": []}
        )
        launchable, *_ = optimizer._fill_in_launchable_resources(tasks[0], None, quiet=True)
        for machine in next(iter(launchable.values())):
            name = next(n for n, c in clouds.items() if type(c) is type(machine.cloud))
            offered[name].setdefault(accelerator, {})[str(count)] = machine.get_cost(3600)
    sizes = sorted({t["gigabytes"] for w in workflows for t in w["tasks"]})
    sent = {name: [[size, cloud.get_egress_cost(size)] for size in sizes] for name, cloud in clouds.items()}
    Path(sys.argv[2]).write_text(
        json.dumps(
            {
                "version": sky.__version__,
                "import_s": imported_s,
                "first_s": answers[0]["wall_s"],
                "answers": answers[1:],
                "offered": offered,
                "egress": sent,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
