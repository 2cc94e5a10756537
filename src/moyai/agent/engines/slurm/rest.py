"""Slurm by slurmrestd."""

import asyncio
import json
import logging
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from moyai.agent.clocks import boot_us
from moyai.agent.engines.base import EngineDown
from moyai.agent.engines.batch.base import Refused, SchedulerDown
from moyai.agent.engines.slurm.http import Http
from moyai.agent.engines.slurm.shapes import KNOWN, BadShape, Shape
from moyai.agent.engines.slurm.tokens import Tokens
from moyai.agent.engines.slurm.types import SlurmJob, SlurmNode, SlurmOrder

LOG = logging.getLogger("moyai.agent.slurm")
AT_ONCE = 8
"""Requests under way."""
REFUSALS = range(2_000, 2_200)
"""Slurm's numbers for what is wrong with a job."""
FOR_NOW = frozenset({2_016, 2_019, 2_024, 2_027, 2_035})
"""Of those, the ones that say something about Slurm: nodes busy, writing, pending, standby, disabled."""
NO_SUCH_JOB = frozenset({2_017, 2_021})


class Still:
    """Whether Slurm may be asked only for what changed. It compares by whole seconds of its own clock.

    So a listing must not be relied on while the second of its newest change may still go on: not before one that was
    asked for two seconds later told the same. Now and then everything is asked for, should that clock be set back.
    """

    WAIT_US = 2_000_000
    ALL_US = 30_000_000

    def __init__(self) -> None:
        self._newest_s = self._since_us = self._listed_us = 0

    def since_s(self, now_us: int) -> int:
        """What to give as `update_time`; 0 for everything."""
        quiet = self._newest_s and self._listed_us - self._since_us >= self.WAIT_US
        return self._newest_s + 1 if quiet and now_us - self._listed_us < self.ALL_US else 0

    def listed(self, asked_us: int, newest_s: int) -> None:
        """Everything was listed, and the newest change in it is of `newest_s`."""
        if newest_s != self._newest_s:
            self._newest_s, self._since_us = newest_s, asked_us
        self._listed_us = asked_us


class RestLink:
    """One slurmrestd."""

    def __init__(self, address: str, user: str, tokens: Tokens) -> None:
        """`user`: as whom jobs and nodes are listed."""
        self._address = address
        self._user = user
        self._tokens = tokens
        self._http = Http(address)
        self._threads = ThreadPoolExecutor(AT_ONCE, "slurmrestd")
        self._shape: Shape | None = None
        self._still = Still()

    @property
    def title(self) -> str:
        """Where it is."""
        return f"Slurm at {self._address}"

    async def open(self) -> None:
        """Find the newest version of its API that is known here. Raises EngineDown, SchedulerDown."""
        if self._shape is None:
            status, answer = await self._call("GET", "/openapi/v3", self._user)
            paths = answer.get("paths") if isinstance(answer, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            if status != 200 or not isinstance(paths, dict):
                raise SchedulerDown(f"/openapi/v3 answers {status} and does not say which API there is")
            seen = {m[1] for path in paths if (m := re.match(r"/slurm/(v\d+\.\d+\.\d+)/", str(path)))}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            both = sorted(seen & KNOWN.keys(), key=_order)
            if not both:
                there = ", ".join(sorted(seen, key=_order)) or "none"
                raise EngineDown(
                    f"{self.title} speaks API {there}, and this agent {', '.join(sorted(KNOWN))}: start slurmrestd "
                    "with one of these by its -s or -d, or leave out `rest:` so that Slurm's commands are used"
                )
            self._shape = KNOWN[both[-1]]()

    async def submit(self, order: SlurmOrder) -> str:
        """By POST /job/submit."""
        shape = await self._ready()
        status, answer = await self._call("POST", f"/slurm/{shape.version}/job/submit", order.user, shape.submit(order))
        errors = shape.errors(answer)
        if status != 200:
            words = "; ".join(text for _, text in errors if text) or f"answers {status}"
            if any(number in REFUSALS and number not in FOR_NOW for number, _ in errors) or status == 400:
                raise Refused(f"Slurm refuses it: {words}")
            self._tokens.drop()
            raise SchedulerDown(f"a submit fails: {words}")
        try:
            return shape.number(answer)
        except BadShape as problem:
            raise SchedulerDown(f"a submit is answered by what makes no sense: {problem}") from None

    async def jobs(self) -> Sequence[SlurmJob] | None:
        """By GET /jobs; None on 304."""
        shape = await self._ready()
        asked = boot_us()
        since_s = self._still.since_s(asked)
        query = f"?update_time={since_s}" if since_s else ""
        status, answer = await self._call("GET", f"/slurm/{shape.version}/jobs{query}", self._user)
        if status == 304:
            return None
        self._check("the jobs", status, answer, shape)
        try:
            found = shape.jobs(answer)
        except BadShape as problem:
            raise SchedulerDown(f"its jobs make no sense: {problem}") from None
        self._still.listed(asked, max((job.touched_s for job in found), default=0))
        return found

    async def cancel(self, number: str, user: str) -> None:
        """By DELETE /job/N."""
        shape = await self._ready()
        status, answer = await self._call("DELETE", f"/slurm/{shape.version}/job/{number}", user)
        if status != 200 and not any(code in NO_SUCH_JOB for code, _ in shape.errors(answer)):
            self._check(f"the end of job {number}", status, answer, shape)

    async def nodes(self) -> Sequence[SlurmNode]:
        """By GET /nodes."""
        shape = await self._ready()
        status, answer = await self._call("GET", f"/slurm/{shape.version}/nodes", self._user)
        self._check("the nodes", status, answer, shape)
        try:
            return shape.nodes(answer)
        except BadShape as problem:
            raise SchedulerDown(f"its nodes make no sense: {problem}") from None

    async def close(self) -> None:
        """Hang up."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    async def _ready(self) -> Shape:
        if self._shape is None:
            await self.open()
        assert self._shape is not None
        return self._shape

    def _check(self, what: str, status: int, answer: object, shape: Shape) -> None:
        if status == 200:
            return
        self._tokens.drop()
        words = "; ".join(text for _, text in shape.errors(answer) if text)
        hint = " (a token that isn't taken answers so too: see `jwt_key`, `token` and `user`)" if status == 500 else ""
        raise SchedulerDown(f"asked for {what} it answers {status}" + (f": {words}" if words else "") + hint)

    async def _call(self, method: str, path: str, user: str = "", body: object = None) -> tuple[int, object]:
        """(status, JSON). Raises SchedulerDown where nobody answers, or with what is no JSON."""
        headers: dict[str, str] = {}
        if user:
            headers = {"X-SLURM-USER-NAME": user, "X-SLURM-USER-TOKEN": self._tokens.of(user)}
        content = b""
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        loop = asyncio.get_running_loop()
        status, data = await loop.run_in_executor(self._threads, self._http.ask, method, path, headers, content)
        if status == 401:
            self._tokens.drop()
            raise SchedulerDown("it lets nobody in with our token: see `jwt_key`, `token` and `user`")
        if not data or status == 404:
            return status, None
        try:
            return status, json.loads(data)
        except ValueError:
            raise SchedulerDown(f"it answers {status} with what is no JSON: {data[:60]!r}") from None


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version[1:].split("."))
