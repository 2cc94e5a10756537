"""An attempt's directory for the account under which its job runs, where that isn't the agent's own. Needs root."""

import os
import pwd
from pathlib import Path

from moyai.agent.engines.base import EngineDown

PASS = 0o711
"""Whoever knows a name in the directory may go on to it; nobody else may list it."""


def own_name() -> str:
    """The user that this program runs as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def check(user: str, own: str, listen: str) -> None:
    """See that jobs can run as `user`. `listen`: where guards of other accounts come. Raises EngineDown."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise EngineDown(f"there is no user {user!r} on this machine: see `user:` and `accounts:`") from None
    if user == own:
        return
    if os.geteuid() != 0:
        raise EngineDown(
            f"jobs are to run as {user!r}, and this agent runs as {own!r}: run it as root, or as that user"
        )
    if not listen:
        raise EngineDown(f"guards of {user!r} can't use the socket of {own!r}: say `listen: HOST:PORT` under `guard:`")


def give(root: Path, place: Path, user: str) -> None:
    """Give all of an attempt's directory to `user`, and let it pass through those above, up to `root`.

    Raises OSError, KeyError where there is no such user any more. Links are not followed.
    """
    account = pwd.getpwnam(user)
    for above in (root, place.parent):
        if above.stat().st_mode & 0o777 != PASS:
            above.chmod(PASS)
    for folder, _, files in os.walk(place):
        os.chown(folder, account.pw_uid, account.pw_gid)
        for name in files:
            os.chown(os.path.join(folder, name), account.pw_uid, account.pw_gid, follow_symlinks=False)
