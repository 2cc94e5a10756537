"""Machines that are reached by SSH: each is entered by its key and its known host key, and asked for its Python."""

import asyncio

import asyncssh

from moyai.agent.doctor.check import Check, bad, ok
from moyai.agent.engines.ssh.reach import Unreached, connect, known_hosts
from moyai.model.engine import SshHost, SshSettings

WITHIN_S = 15.0
AT_ONCE = 8
LEAST_PYTHON = (3, 11)
_ASK = 'import sys; print("%d %d %d" % sys.version_info[:3])'


def check_ssh(settings: SshSettings) -> list[Check]:
    """Every machine of the list, several at once."""
    return asyncio.run(_all(settings))


async def _all(settings: SshSettings) -> list[Check]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(host: SshHost) -> Check:
        async with room:
            return await _check(host, settings)

    return list(await asyncio.gather(*(one(host) for host in settings.hosts)))


async def _check(host: SshHost, settings: SshSettings) -> Check:
    name, where = f"ssh:{host.name}", f"{host.address}:{host.port}"
    try:
        async with asyncio.timeout(WITHIN_S):
            return await _ask(name, host, settings)
    except Unreached as error:
        match error.__context__:
            case asyncssh.HostKeyNotVerifiable():
                return bad(name, "ssh-unknown", problem=str(error), file=str(known_hosts(settings)))
            case asyncssh.PermissionDenied():
                return bad(name, "ssh-refused", problem=str(error))
            case _:
                return bad(name, "ssh-away", where=where, problem=str(error))
    except TimeoutError:
        return bad(name, "ssh-away", where=where, problem=f"no answer within {WITHIN_S:.0f} s")
    except (OSError, asyncssh.Error, ValueError) as error:
        return bad(name, "ssh-away", where=where, problem=str(error) or type(error).__name__)


async def _ask(name: str, host: SshHost, settings: SshSettings) -> Check:
    way: list[asyncssh.SSHClientConnection] = []
    try:
        for hop in _way(host, settings):
            way.append(await connect(hop, settings, way[-1] if way else None))
        done = await way[-1].run(f"{settings.python} -c '{_ASK}'", check=False)
    finally:
        for connection in reversed(way):
            connection.abort()
    said = str(done.stdout or "").split()
    if done.exit_status or len(said) != 3 or not all(part.isdecimal() for part in said):
        problem = " ".join(str(done.stderr or done.stdout or "").split())[:200]
        return bad(name, "ssh-python-none", host=host.name, python=settings.python, problem=problem)
    version, least = ".".join(said), ".".join(map(str, LEAST_PYTHON))
    if tuple(map(int, said)) < LEAST_PYTHON:
        return bad(name, "ssh-python-old", host=host.name, version=version, least=least)
    return ok(name, "ssh-fine", host=host.name, version=version)


def _way(host: SshHost, settings: SshSettings) -> list[SshHost]:
    """The hosts to go through, the one that is meant last. A site file with a circle is refused when it is read."""
    by_name = {one.name: one for one in settings.hosts}
    way, at = [host], host.jump
    while at and at in by_name and by_name[at] not in way:
        way.insert(0, by_name[at])
        at = by_name[at].jump
    return way
