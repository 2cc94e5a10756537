"""Specs → the nouns of the log. Spans become instants here, once, and units become integers."""

from decimal import ROUND_HALF_EVEN, Decimal

from moyai.model.engine import EngineFile, GuardSettings, RaySettings, SlurmFlavor, SlurmSettings, SshHost, SshSettings
from moyai.model.ids import BlobId, DatasetName, FlavorName, SiteName, TenantName
from moyai.model.site import Flavor, Link, SiteProfile, link_key
from moyai.model.specs.engine import GuardPart, RayPart, SlurmPart, SshPart
from moyai.model.specs.fields import parse_dataset, span_us
from moyai.model.specs.fleet import FlavorSpec, FleetSpec, LinkSpec, SiteKeys
from moyai.model.specs.job import CheckpointSpec, JobSpec, ResourcesSpec
from moyai.model.specs.problems import SpecError, quoted
from moyai.model.specs.quantity import deadline_text, instant_text, span_text
from moyai.model.units import Instant, after
from moyai.model.workload import CheckpointRule, DataUse, JobOrder, JobText, Need, OnPartition

MOUNTS = "mounts"
"""The capability that an engine needs for a job that names absolute paths of its own."""


def resolve(
    spec: JobSpec,
    now: Instant,
    workdir: BlobId | None = None,
    workdir_bytes: int = 0,
    *,
    files: tuple[tuple[str, str], ...] = (),
) -> tuple[JobOrder, JobText]:
    """What the log holds of a job, and its tenant's words apart.

    `workdir` is the archive of the directory that `spec.workdir` names, `workdir_bytes` its size unpacked; `files` are
    those that a workflow's task writes, with their paths.
    Raises SpecError where the deadline is not after `now`.
    """
    order = JobOrder(
        name=spec.name,
        need=_need(spec.resources),
        nodes=spec.nodes,
        priority=spec.priority,
        deadline=_deadline(spec, now),
        expect_us=span_us(spec.expect),
        limit_us=span_us(spec.limit),
        retries=spec.retries,
        residency=tuple(sorted(spec.residency)),
        data=tuple(_data(use.dataset, use.purpose) for use in spec.data),
        checkpoint=_rule(spec.checkpoint),
        on_partition=OnPartition(spec.on_partition),
        grace_us=span_us(spec.grace),
        workdir=workdir,
        workdir_bytes=workdir_bytes,
        capabilities=_capabilities(spec),
    )
    text = JobText(
        run=spec.run,
        setup=spec.setup,
        env=tuple(sorted(spec.env.items())),
        mounts=tuple((parse_dataset(use.dataset)[0], use.mount or "") for use in spec.data),
        checkpoint_path=(spec.checkpoint.path or "") if spec.checkpoint else "",
        files=files,
    )
    return order, text


def resolve_fleet(spec: FleetSpec) -> tuple[tuple[SiteProfile, ...], tuple[Link, ...]]:
    """The sites and links of a fleet, by name."""
    sites = sorted((_site(site) for site in spec.sites), key=lambda site: site.name)
    links = sorted((_link(link) for link in spec.links), key=lambda link: (link.a, link.b))
    return tuple(sites), tuple(links)


def resolve_site(site: SiteKeys) -> SiteProfile:
    """What control knows of a site."""
    return _site(site)


def resolve_engine(site: SiteKeys) -> EngineFile:
    """What its agent alone knows: how the engine is reached."""
    return EngineFile(
        slurm=_slurm(site.slurm) if site.slurm is not None else None,
        ray=_ray(site.ray) if site.ray is not None else None,
        ssh=_ssh(site.ssh) if site.ssh is not None else None,
    )


def _slurm(part: SlurmPart) -> SlurmSettings:
    return SlurmSettings(
        rest=part.rest or "",
        config=part.config or "",
        jwt_key=part.jwt_key or "",
        token=part.token or "",
        user=part.user or "",
        accounts=tuple((TenantName(tenant), user) for tenant, user in sorted(part.accounts.items())),
        flavors=tuple(
            SlurmFlavor(FlavorName(name), flavor.partition or "", flavor.constraint or "", flavor.gres or "")
            for name, flavor in sorted(part.flavors.items())
        ),
        poll_us=span_us(part.poll),
        guard=_guard(part.guard),
    )


def _ray(part: RayPart) -> RaySettings:
    return RaySettings(
        address=part.address,
        token=part.token or "",
        accelerators=tuple(sorted(part.accelerators.items())),
        poll_us=span_us(part.poll),
        guard=_guard(part.guard),
    )


def _ssh(part: SshPart) -> SshSettings:
    return SshSettings(
        hosts=tuple(
            SshHost(h.name, h.address, FlavorName(h.flavor), h.port, h.user or "", h.key or "", h.jump or "")
            for h in part.hosts
        ),
        known_hosts=part.known_hosts or "",
        directory=part.directory,
        python=part.python,
    )


def _guard(part: GuardPart) -> GuardSettings:
    return GuardSettings(part.python, part.listen or "")


def _deadline(spec: JobSpec, now: Instant) -> Instant | None:
    if spec.deadline is None:
        return None
    if spec.deadline.at is None:
        return after(now, spec.deadline.span_us)
    if spec.deadline.at <= now:
        ago = span_text((now - spec.deadline.at) // 1_000_000 * 1_000_000)
        wrong = f"is in the past, by {ago}: it is {instant_text(Instant(now // 1_000_000 * 1_000_000))} now"
        hint = "write a later instant, or a span such as '36h'"
        raise SpecError((spec.source.problem(("deadline",), wrong, hint, quoted(deadline_text(spec.deadline))),))
    return spec.deadline.at


def _need(resources: ResourcesSpec) -> Need:
    accelerators = resources.accelerators
    return Need(
        cores=resources.cpus.low,
        memory_bytes=resources.memory.low if resources.memory else 0,
        accelerator=accelerators.kind if accelerators else "",
        accelerators=accelerators.count.low if accelerators else 0,
    )


def _data(dataset: str, purpose: str) -> DataUse:
    name, version = parse_dataset(dataset)
    return DataUse(DatasetName(name), version, purpose)


def _rule(checkpoint: CheckpointSpec | None) -> CheckpointRule | None:
    if checkpoint is None:
        return None
    return CheckpointRule(checkpoint.signal, checkpoint.stop_signal, span_us(checkpoint.grace))


def _capabilities(spec: JobSpec) -> tuple[str, ...]:
    paths = [use.mount for use in spec.data] + [spec.checkpoint.path if spec.checkpoint else None]
    return (MOUNTS,) if any(paths) else ()


def _site(site: SiteKeys) -> SiteProfile:
    return SiteProfile(
        name=SiteName(site.name),
        engine=site.engine,
        jurisdiction=site.jurisdiction,
        latitude_microdeg=_integer(site.latitude, 1_000_000),
        longitude_microdeg=_integer(site.longitude, 1_000_000),
        flavors=tuple(_flavor(flavor) for flavor in site.flavors),
        price_micro_yen_per_kwh=_integer(site.price_yen_per_kwh, 1_000_000),
        carbon_mg_per_kwh=_integer(site.carbon_g_per_kwh, 1_000),
        pue_milli=_integer(site.pue, 1_000),
        power_cap_w=_integer(site.power_cap_kw or Decimal(0), 1_000),
        synthetic=site.synthetic,
    )


def _flavor(flavor: FlavorSpec) -> Flavor:
    accelerators = flavor.accelerators
    return Flavor(
        name=FlavorName(flavor.name),
        count=flavor.count,
        cores=flavor.cpus.low,
        memory_bytes=flavor.memory.low,
        accelerator=accelerators.kind if accelerators else "",
        accelerators=accelerators.count.low if accelerators else 0,
        idle_w=flavor.idle_w,
        peak_w=flavor.peak_w,
        price_micro_yen_per_hour=_integer(flavor.price_yen_per_hour, 1_000_000),
    )


def _link(link: LinkSpec) -> Link:
    a, b = link_key(SiteName(link.between[0]), SiteName(link.between[1]))
    return Link(a, b, link.bandwidth, span_us(link.latency), _integer(link.egress_yen_per_gb, 1_000_000))


def _integer(number: Decimal, scale: int) -> int:
    return int((number * scale).to_integral_value(ROUND_HALF_EVEN))
