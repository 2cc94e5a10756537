"""A tenant's jobs run under its own account, which reaches the agent by the secret of each attempt alone."""

import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from agent.fake_control import FakeControl
from engines.slurm.cluster import Cluster
from engines.slurm.site import SlurmSite, ended, order, run, said
from moyai.model.engine import GuardSettings
from moyai.model.ids import TenantName


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_a_job_runs_as_its_tenants_account(
    sites: Callable[..., SlurmSite], control: FakeControl, cluster: Cluster, tmp_path: Path
) -> None:
    below = len(Path(tempfile.gettempdir()).parents) + 1
    for above in (tmp_path, *tmp_path.parents[:-below]):
        above.chmod(0o755)
    guard = GuardSettings("/usr/bin/python3", f"127.0.0.1:{free()}")
    accounts = ((TenantName("acme"), "nobody"),)
    site = sites(accounts=accounts, guard=guard).start()
    await run(control, order("a.1", nodes=2), 'id -un; echo $HOME; ls -ld .; test ! -r "$PWD/../../../journal.db"')
    end = await ended(control, "a.1")
    assert said(end) == ("succeeded", "exit", 0), site.log() + site.engine_out("a.1") + site.output("a.1")
    assert site.output("a.1", 1).splitlines()[0] == "nobody"
    assert cluster.say("squeue", "-h", "-t", "all", "-n", "a.1", "-o", "%u").strip() == "nobody"
    by_commands = sites("osaka", rest="", jwt_key="", config=str(cluster.config), accounts=accounts, guard=GuardSettings(
        "/usr/bin/python3", f"127.0.0.1:{free()}"
    ))  # fmt: skip
    by_commands.start()
    await run(control, order("b.1"), "id -un", site="osaka")
    assert said(await ended(control, "b.1", site="osaka")) == ("succeeded", "exit", 0), by_commands.log()
    assert by_commands.output("b.1") == "nobody\n"
