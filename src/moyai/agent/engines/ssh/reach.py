"""Connecting to a machine by SSH: who it is, who we are, and what to say where it fails."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import asyncssh

from moyai.agent.engines.base import EngineDown
from moyai.model.engine import SshHost, SshSettings

CONNECT_S = 10.0
LOGIN_S = 20.0
KEEPALIVE_S = 5
KEEPALIVES = 3
"""So many may stay unanswered: a machine that is gone is noticed within 20 s."""

GONE = (OSError, asyncssh.Error, asyncio.IncompleteReadError, TimeoutError)
"""What a call to a machine raises where its connection is down."""


class Unreached(Exception):
    """The machine can't be used now; the message says why and what to do."""


def known_hosts(settings: SshSettings) -> Path:
    """The file of known host keys."""
    return Path(settings.known_hosts) if settings.known_hosts else Path.home() / ".ssh/known_hosts"


def check(settings: SshSettings) -> None:
    """Look at what is ours of it. Raises EngineDown: a key or a file of host keys that can't be read."""
    place = known_hosts(settings)
    try:
        asyncssh.read_known_hosts(str(place))
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        raise EngineDown(
            f"{place}: the known host keys can't be read: {words}; make the file by "
            f"`ssh-keyscan -H ADDRESS >> {place}`, and compare each key with the machine's own"
        ) from None
    for host in settings.hosts:
        if not host.key:
            continue
        try:
            asyncssh.read_private_key(host.key)
        except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            words = error.strerror if isinstance(error, OSError) else str(error)
            raise EngineDown(f"{host.key}: the key of {host.name} can't be read: {words}") from None


async def connect(
    host: SshHost, settings: SshSettings, tunnel: asyncssh.SSHClientConnection | None
) -> asyncssh.SSHClientConnection:
    """A connection to a machine, through `tunnel` where one is given. Raises Unreached."""
    where = f"{host.name} ({host.address}:{host.port})"
    options: Mapping[str, object] = {
        "tunnel": tunnel or (),
        "username": host.user or (),
        "client_keys": [host.key] if host.key else (),
        "agent_path": None if host.key else (),
        "known_hosts": str(known_hosts(settings)),
        "config": None,
        "connect_timeout": CONNECT_S,
        "login_timeout": LOGIN_S,
        "keepalive_interval": KEEPALIVE_S,
        "keepalive_count_max": KEEPALIVES,
        "preferred_auth": "publickey",
    }
    try:
        return await asyncssh.connect(host.address, host.port, **options)
    except asyncssh.HostKeyNotVerifiable:
        raise Unreached(await _host_key(host, settings, tunnel)) from None
    except asyncssh.PermissionDenied:
        user = host.user or os.environ.get("USER", "the agent's user")
        key = host.key or "the usual keys of the agent's user"
        raise Unreached(
            f"{where} lets nobody in as {user} by {key}: add the public key to ~/.ssh/authorized_keys there"
        ) from None
    except TimeoutError:
        raise Unreached(f"{where} does not answer") from None
    except asyncssh.Error as error:
        raise Unreached(f"{where}: {error.reason or error}") from None
    except OSError as error:
        raise Unreached(f"{where} can't be reached: {error.strerror or error}") from None
    except ValueError as error:  # a key that can't be read any more
        raise Unreached(f"{where}: {error}") from None


async def _host_key(host: SshHost, settings: SshSettings, tunnel: asyncssh.SSHClientConnection | None) -> str:
    """What is wrong with the host key of a machine, in words."""
    place = known_hosts(settings)
    name = host.address if host.port == 22 else f"[{host.address}]:{host.port}"
    try:
        found = await asyncio.wait_for(
            asyncssh.get_server_host_key(host.address, host.port, tunnel=tunnel or (), config=None), CONNECT_S
        )
        known, *_ = asyncssh.match_known_hosts(asyncssh.read_known_hosts(str(place)), host.address, "", host.port)
    except (*GONE, ValueError):
        found, known = None, ()
    if found is None:
        return f"{host.name}: the host key of {name} is not the one in {place}"
    print_ = found.get_fingerprint()
    if known:
        return (
            f"{host.name}: the host key of {name} has CHANGED (it is {print_} now): somebody may answer in its place. "
            f"Only if the machine was set up anew: `ssh-keygen -f {place} -R '{name}'`, and add its new key"
        )
    line = f"{name} {found.export_public_key('openssh').decode().strip()}"
    return (
        f"{host.name}: the host key of {name} is unknown. Its fingerprint is {print_}: "
        f"if the machine says the same, add to {place} the line: {line}"
    )
