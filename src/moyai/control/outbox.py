"""Outstanding commands, built from the state whenever an agent asks: nothing is stored twice."""

from moyai.control.state import CommandRef, State, dataset_key
from moyai.control.workflows import file_of
from moyai.model import commands as c
from moyai.model.ids import AttemptId, ManifestId, SiteName, TransferId


def command_of(state: State, site: SiteName, ref: CommandRef) -> c.Command | None:
    """The command to `site` that `ref` stands for, or None where its subject is gone."""
    kind, _, subject = ref.partition(" ")
    match kind:
        case "launch":
            return _launch(state, AttemptId(subject))
        case "stop":
            attempt = state.attempts[AttemptId(subject)]
            return c.Stop(attempt.attempt, attempt.stop) if attempt.stop else None
        case "fetch":
            t = state.transfers.get(TransferId(subject))
            if t is None:
                return None
            return c.Fetch(t.transfer, t.manifest, t.source, t.size_bytes, t.bytes_per_second, t.latency_us)
        case "adopt":
            dataset = state.datasets[subject]
            return c.Adopt(dataset.profile.name, dataset.profile.version, dataset.text)
        case "drop":
            known = state.sites[site].reports_through if state.workflows else 0  # without files nothing depends on it
            return c.Drop(ManifestId(subject), known)
        case _:
            raise AssertionError(f"no such command: {kind}")


def _launch(state: State, attempt_id: AttemptId) -> c.Launch:
    attempt = state.attempts[attempt_id]
    job = state.jobs[attempt.job]
    inputs: list[c.Input] = []
    for use in job.order.data:
        manifest = state.datasets[dataset_key(use.dataset, use.version)].manifest
        if manifest is None:
            raise AssertionError(f"{attempt_id} was issued before {use.dataset}@{use.version} was adopted")
        inputs.append(c.Input(use.dataset, use.version, manifest, file_of(use.dataset)))
    files = state.workflows[job.workflow].tasks[job.task].writes if job.workflow is not None else ()
    rule = job.order.checkpoint
    return c.Launch(
        attempt=attempt_id,
        job=job.job,
        name=job.order.name,
        tenant=job.tenant,
        project=job.project,
        flavor=attempt.placement.flavor,
        nodes=attempt.placement.nodes,
        need=job.order.need,
        power_w=attempt.placement.power_w,
        limit_us=job.order.limit_us,
        grace_us=rule.grace_us if rule else job.order.grace_us,
        on_partition=job.order.on_partition,
        checkpoint=rule,
        inputs=tuple(inputs),
        workdir=job.order.workdir,
        restore=attempt.restore,
        covered_us=attempt.covered_us,
        text=job.text,
        files=tuple(file.name for file in files),
    )
