"""Play one seed: build its world, let it go wrong, heal it, wait until it rests, and judge it."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from moyai.control import requests as r
from moyai.control.state import BrokenInvariant, State, state_hash
from moyai.model.ids import SiteName
from moyai.model.lifecycle import JOB_ENDED
from moyai.model.workload import OnPartition
from moyai.twin.control import DRIFT_PPM, ControlNode
from moyai.twin.desk import Desk
from moyai.twin.faults import FAULTS_UNTIL, Faults
from moyai.twin.invariants import findings
from moyai.twin.network import Network
from moyai.twin.rules import Rule, without
from moyai.twin.scenario import Scenario, draw
from moyai.twin.site import Site
from moyai.twin.truth import Truth, Violation
from moyai.twin.world import SECOND, OutOfTime, World

REST_WITHIN_US = 1_200 * SECOND
LOOK_US = 5 * SECOND


@dataclass(frozen=True, slots=True)
class Played:
    """What became of a seed. `problem` is "" where every promise held."""

    seed: int
    problem: str
    log_events: int
    world_events: int
    true_us: int
    runs: int  # starts that really ran
    takeovers: int
    head: str
    state: str


def replay_command(seed: int, rule: Rule | None = None) -> str:
    """The one command that plays a seed again."""
    return f"python -m moyai.twin replay-seed {seed}" + (f" --without {rule}" if rule else "")


class Stage:
    """One seed's world with everything in it."""

    def __init__(self, seed: int, rule: Rule | None = None, trace: Callable[[str], None] | None = None) -> None:
        self.world = world = World(seed, trace=trace)
        self.scenario: Scenario = draw(world)
        self.net = Network(world)
        profiles = {p.name: p for p in self.scenario.profiles}
        self.truth = Truth(world, profiles)
        self.control = ControlNode(world, self.net, _drift_ppm(world))
        self.sites: dict[SiteName, Site] = {
            p.name: Site(
                world,
                self.net,
                self.control,
                truth=self.truth,
                profile=p,
                drift_ppm=_drift_ppm(world),
                work=self.scenario.work.__getitem__,
                guarded=p.name != self.scenario.unguarded,
            )
            for p in self.scenario.profiles
        }
        for site in self.sites.values():
            site.others = self.sites
            site.all_claims = rule is Rule.START_CLAIM
        if rule is Rule.LEASE_WAIT:
            self.control.wait_share = 0.6
        self.desk = Desk(world, self.control)
        self.faults = Faults(world, self.net, self.control, self.desk, list(self.sites.values()))

    def play(self) -> None:
        """Run until all is at rest. Raises Violation, BrokenInvariant or OutOfTime."""
        world = self.world
        self.control.start()
        for site in self.sites.values():
            site.power_on()
        for at, request in self.scenario.requests:
            world.after(at, self.desk.ask, request)
        self.faults.draw()
        world.run(max(FAULTS_UNTIL, self.scenario.quiet_at) + LOOK_US)
        until = world.now + REST_WITHIN_US
        while not self.rests():
            if world.now > until:
                raise OutOfTime(f"no rest after twenty minutes: {self.unrest()}")
            self._operate()
            world.run(world.now + LOOK_US)

    def rests(self) -> bool:
        """Whether nothing is left to do for anybody."""
        return not self.unrest()

    def unrest(self) -> str:
        """What is left to do; "" at rest."""
        control = self.control.control
        if control is None or not self.control.idle:
            return "control is busy"
        if self.desk.open:
            return f"requests without an answer: {self.desk.words()}"
        state = control.state
        waiting = [j.job for j in state.jobs.values() if j.state not in JOB_ENDED]
        if waiting:
            now = self.control.machine.wall()
            return "; ".join(f"{j} is {state.jobs[j].state}: {control.why(j, now).reason}" for j in waiting)
        if state.transfers:
            return f"transfers under way: {', '.join(state.transfers)}"
        boxes = {site: box for site, box in state.outbox.items() if box}
        if boxes:
            return f"commands outstanding: {boxes}"
        for site in self.sites.values():
            if site.agent is None or not site.agent.joined:
                return f"{site.name} is not joined"
            if site.agent.core.waiting or site.agent.core.attempts:
                return f"{site.name} holds {sorted(site.agent.core.attempts)}, {site.agent.core.waiting} reports"
            if any(run.runs for run in site.engine.alive):
                return f"{site.name} still runs something"
        return ""

    def _operate(self) -> None:
        """People look at what waits for what can't come any more.

        A job whose dataset is gone with its only site is cancelled. For an attempt that only its site's word could end,
        an operator gives his own; he switches the machine off first, so that what he says is true.
        """
        control = self.control.control
        if control is None:
            return
        for job in list(control.indexes.pending):
            if any(_lost(control.state, f"{u.dataset}@{u.version}") for u in control.state.jobs[job].order.data):
                self.desk.ask(r.CancelJob("ayako", job))
        for attempt_id in list(control.indexes.live):
            attempt = control.state.attempts[attempt_id]
            order = control.state.jobs[attempt.job].order
            site = self.sites[attempt.site]
            waits = order.on_partition is OnPartition.WAIT or not site.engine.guarded
            if not waits or site.agent is None or not site.agent.joined:
                continue
            held = site.agent.core.attempts.get(attempt_id)
            box = control.state.outbox.get(site.name, {})
            if held is None:
                gone = f"launch {attempt_id}" not in box and f"stop {attempt_id}" not in box
            else:
                gone = held.claimed and site.agent.lacks(held)
            if gone and not site.agent.core.waiting:
                self.world.say(f"operator: nothing of {attempt_id} is left at {site.name}")
                site.power_off(lose_disk=False, lose_books=True)
                self.desk.ask(r.DeclareSiteDead("operator", site.name))
                self.world.after(3 * SECOND, site.power_on)
                return


def _drift_ppm(world: World) -> int:
    """How wrong a machine's boot clock is: often as wrong as it may be."""
    return world.rng.choice((-DRIFT_PPM, DRIFT_PPM, world.between(-DRIFT_PPM, DRIFT_PPM)))


def _lost(state: State, dataset: str) -> bool:
    """Whether no site holds a dataset any more."""
    manifest = state.datasets[dataset].manifest
    return manifest is not None and (manifest not in state.manifests or not state.manifests[manifest].sites)


def play(seed: int, rule: Rule | None = None, trace: Callable[[str], None] | None = None) -> Played:
    """Play `seed`, with one rule switched off or none. Never raises for a broken promise: it is in `problem`."""
    stage = Stage(seed, rule, trace)
    problem = ""
    with without(rule):
        try:
            stage.play()
        except (Violation, BrokenInvariant, OutOfTime) as broken:
            problem = f"{broken} (at {stage.world.now / SECOND:.3f} s)"
        except Exception as error:  # noqa: BLE001 - a fault of the code itself is a finding like any other
            where = traceback.extract_tb(error.__traceback__)[-1]
            problem = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
    log, control = stage.control.log, stage.control.control
    if not problem and control is not None:
        middle = stage.world.between(0, len(log.records))
        problem = next(findings(log, control, stage.scenario.jobs, middle), "")
    return Played(
        seed=seed,
        problem=problem,
        log_events=len(log.records),
        world_events=stage.world.events,
        true_us=stage.world.now,
        runs=stage.truth.runs,
        takeovers=stage.control.lives,
        head=log.head,
        state=state_hash(control.state) if control is not None else "",
    )
