"""Slurm by its commands: sbatch, squeue, scontrol, scancel, sinfo, sacct."""

import asyncio
import os
import re
import shutil
from collections.abc import Collection, Sequence

from moyai.agent.engines.base import EngineDown
from moyai.agent.engines.batch.base import Phase, Refused, SchedulerDown
from moyai.agent.engines.slurm.states import phase
from moyai.agent.engines.slurm.types import SlurmJob, SlurmNode, SlurmOrder

ANSWER_S = 20.0
AT_ONCE = 4
CUT = "\x1f"
NEEDED = ("sbatch", "squeue", "scancel", "sinfo", "scontrol")
DOWN = re.compile(
    r"contact slurm controller|Zero Bytes|timed out|Connection refused|authentication error|temporarily unavailable"
    r"|Unable to (connect|establish)|standby|Invalid authentication|munge|No route to host",
    re.IGNORECASE,
)
"""What a command says where it is Slurm that has the problem, and not the job."""
MOST_HISTORY = 200
"""Names in one question to the accounting."""


class CommandLink:
    """A cluster whose commands work on this machine."""

    def __init__(self, config: str, user: str, own: str) -> None:
        """`config`: slurm.conf, "" for the system's. `own`: the user that this program runs as."""
        self._config = config
        self._user = user
        self._own = own
        self._running = asyncio.Semaphore(AT_ONCE)
        self._exits: dict[str, tuple[int, bool]] = {}  # number → exit status, preempted; of jobs that ended
        self._accounting: tuple[str, ...] | None = ()  # what to add to sacct; None where it has nothing to tell

    @property
    def title(self) -> str:
        """Which cluster."""
        return f"Slurm by its commands ({self._config or 'the slurm.conf of this machine'})"

    @property
    def there(self) -> bool:
        """Whether the commands are on this machine."""
        return all(shutil.which(name) for name in NEEDED)

    async def open(self) -> None:
        """See that they are there, and that the controller answers. Raises EngineDown, SchedulerDown."""
        missing = [name for name in NEEDED if not shutil.which(name)]
        if missing:
            raise EngineDown(f"{', '.join(missing)} can't be found here: install Slurm's client, or give `rest:`")
        if self._config and not os.path.exists(self._config):
            raise EngineDown(f"{self._config} is not there: see `config:`")
        await self._say("scontrol", "ping")

    async def submit(self, order: SlurmOrder) -> str:
        """By sbatch."""
        words = [
            "sbatch", "--parsable", "--no-requeue", f"--job-name={order.name}", f"--comment={order.name}",
            f"--chdir={order.directory}", f"--output={order.output}", f"--nodes={order.nodes}",
            f"--ntasks={order.tasks}", f"--ntasks-per-node={order.tasks_per_node}",
            f"--cpus-per-task={order.cpus_per_task}", f"--mem={order.memory_mib}M", "--export=ALL",
        ]  # fmt: skip
        optional = {"gres": order.gres, "partition": order.partition, "constraint": order.constraint}
        optional |= {"signal": order.signal, "time": (order.limit_minutes and str(order.limit_minutes)) or ""}
        words += [f"--{name}={value}" for name, value in optional.items() if value]
        if order.user != self._own:
            words.append(f"--uid={order.user}")
        code, out, said = await self._run(*words, given=order.script, environment=dict(order.environment))
        if code == 0:
            return out.strip().partition(";")[0]
        if DOWN.search(said):
            raise SchedulerDown(f"sbatch: {said}")
        raise Refused(f"Slurm refuses it: {said}")

    async def jobs(self) -> Sequence[SlurmJob] | None:
        """By squeue; how ended ones ended by scontrol, once for each."""
        fields = CUT.join(("%A", "%j", "%u", "%T", "%r", "%N", "%Z", "%M", "%C"))
        out = await self._say("squeue", "--all", "--noheader", "--states=all", "--array", f"--format={fields}")
        rows = [line.split(CUT) for line in out.splitlines()]
        return [await self._job(row) for row in rows if len(row) == 9]

    async def _job(self, row: list[str]) -> SlurmJob:
        number, name, user, state, detail, nodes, directory, elapsed, cpus = row
        status, preempted = -1, False
        if phase(state) is Phase.ENDED:
            status, preempted = await self._exit(number)
        run_us = span_us(elapsed)
        held = int(cpus) if cpus.isdecimal() else 0
        return SlurmJob(number, name, user, state, directory, status, detail, nodes, preempted, run_us, cpus=held)

    async def _exit(self, number: str) -> tuple[int, bool]:
        if number not in self._exits:
            code, out, _ = await self._run("scontrol", "--oneliner", "show", "job", number)
            if code != 0:
                return -1, False
            while len(self._exits) >= 20_000:
                del self._exits[next(iter(self._exits))]
            preempted = re.search(r"\bPreemptTime=(\S+)", out)
            self._exits[number] = (
                exit_status(out.partition(" ExitCode=")[2].partition(" ")[0]),
                preempted is not None and preempted[1] not in ("None", "Unknown"),
            )
        return self._exits[number]

    async def history(self, names: Collection[str]) -> list[SlurmJob]:
        """What the accounting remembers of jobs of these names; what wrote jobcomp's file where there is none."""
        if not names or self._accounting is None or not shutil.which("sacct"):
            return []
        found: list[SlurmJob] = []
        for more in (self._accounting, ("--completion",)):
            code, out, said = await self._run(
                "sacct", "--noheader", "--parsable2", "--allusers", *more,
                *(() if more else ("--allocations", "--starttime=now-30days")),
                f"--name={','.join(sorted(names)[:MOST_HISTORY])}",
                "--format=" + ("JobID,JobName,User,State,NodeList,Elapsed" if more else _ACCOUNTED),
            )  # fmt: skip
            if code == 0 and not re.search("disabled|not supported|error", said, re.IGNORECASE):
                self._accounting = more
                rows = [line.split("|") for line in out.splitlines()]
                return found + [_remembered(row) for row in rows if len(row) >= 6 and row[1] in names]
            if DOWN.search(said) and "disabled" not in said:
                raise SchedulerDown(f"sacct: {said}")
        self._accounting = None
        return found

    async def cancel(self, number: str, user: str) -> None:
        """By scancel."""
        code, _, said = await self._run("scancel", number)
        if code != 0 and not re.search("Invalid job id|already completing or completed", said):
            raise SchedulerDown(f"scancel: {said}")

    async def nodes(self) -> Sequence[SlurmNode]:
        """By sinfo: a line for each node and partition."""
        fields = CUT.join(("%N", "%T", "%R", "%f", "%G", "%c", "%m"))
        out = await self._say("sinfo", "--all", "--noheader", "--Node", f"--format={fields}")
        found: dict[str, SlurmNode] = {}
        for row in (line.split(CUT) for line in out.splitlines()):
            if len(row) != 7 or not row[5].isdecimal() or not row[6].rstrip("+").isdecimal():
                continue
            name, state, partition, features, gres, cpus, memory = row
            before = found[name].partitions if name in found else ()
            have = tuple(part for part in features.split(",") if part and part != "(null)")
            gres = "" if gres == "(null)" else gres
            found[name] = SlurmNode(
                name, _state(state), (*before, partition), have, gres, int(cpus), int(memory.rstrip("+"))
            )
        return list(found.values())

    async def close(self) -> None:
        """Nothing is held."""

    async def _say(self, *words: str) -> str:
        code, out, said = await self._run(*words)
        if code != 0:
            raise SchedulerDown(f"{words[0]}: {said}")
        return out

    async def _run(
        self, *words: str, given: str = "", environment: dict[str, str] | None = None
    ) -> tuple[int, str, str]:
        """(exit code, output, what it complains of). Raises SchedulerDown where it can't be run, or hangs."""
        env = environment or {"PATH": os.environ.get("PATH", os.defpath)}
        if self._config:
            env = {**env, "SLURM_CONF": self._config}
        async with self._running:
            try:
                process = await asyncio.create_subprocess_exec(
                    *words,
                    env=env,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                )
            except OSError as error:
                raise SchedulerDown(f"{words[0]}: {error.strerror or error}") from None
            try:
                out, said = await asyncio.wait_for(process.communicate(given.encode()), ANSWER_S)
            except TimeoutError:
                raise SchedulerDown(f"{words[0]} does not answer within {ANSWER_S:.0f} s") from None
            finally:
                if process.returncode is None:
                    process.kill()
        assert process.returncode is not None
        complaint = " | ".join(line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip())
        return process.returncode, out.decode("utf-8", "replace"), complaint[:400] or f"exit code {process.returncode}"


_ACCOUNTED = "JobIDRaw,JobName,User,State,NodeList,Elapsed,ExitCode,TotalCPU,WorkDir"


def _remembered(row: list[str]) -> SlurmJob:
    number, name, user, state, nodes, elapsed, *more = row
    code, cpu, directory = more if len(more) == 3 else ("", "", "")
    word = state.split(" ")[0]  # "CANCELLED by 1000"
    return SlurmJob(
        number, name, user, word, directory, exit_status(code), "", nodes, False, span_us(elapsed), span_us(cpu)
    )


def exit_status(text: str) -> int:
    """The wait status in Slurm's "code:signal"; −1 where there is none."""
    code, cut, number = text.partition(":")
    if not cut or not code.isdecimal() or not number.isdecimal():
        return -1
    return int(number) if int(number) else int(code) << 8


def span_us(text: str) -> int:
    """Slurm's "days-hours:minutes:seconds.parts" in µs; 0 where it is no span."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)(?:\.(\d+))?", text.strip())
    if match is None:
        return 0
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[:4])
    parts = (match[5] or "0").ljust(6, "0")[:6]
    return ((days * 24 + hours) * 3_600 + minutes * 60 + seconds) * 1_000_000 + int(parts)


def _state(text: str) -> str:
    """sinfo's word for a node's state; its sign at the end is a flag."""
    word = text.lower().rstrip("~#!%$@^-+")
    return word.rstrip("*") + ("+not_responding" if word.endswith("*") else "")
