"""What the agent puts on a machine: one archive of the supervisor and what serves the agent, named by its content."""

import hashlib
from functools import lru_cache

from moyai.agent.guarding.bundle import archive as bundle

MODULES = (
    "agent/clocks",
    "agent/killing",
    "agent/laying",
    "agent/lease",
    "agent/left",
    "agent/local",
    "agent/markers",
    "agent/messages",
    "agent/remote/files",
    "agent/remote/hand",
    "agent/remote/main",
    "agent/spawn",
    "agent/supervisor/__main__",
    "agent/supervisor/attempt",
    "agent/supervisor/begin",
    "agent/supervisor/loop",
    "agent/supervisor/memory",
    "agent/supervisor/output",
    "agent/supervisor/record",
    "agent/workdir",
)
PACKAGES = ("", "agent", "agent/remote", "agent/supervisor")
MAIN = "import sys\nfrom moyai.agent.remote.main import main\nsys.exit(main(sys.argv))\n"
KEPT = 3
"""So many archives stay on a machine: a supervisor goes on from the one that it was started from."""

INSTALL = f"""
import os, sys, tarfile
if sys.version_info < (3, 11) or not hasattr(tarfile, "data_filter"):
    sys.exit("its Python is " + sys.version.split()[0] + "; 3.11.4 or later is needed: set `python:`")
root = os.path.realpath(os.path.join(os.path.expanduser("~"), sys.argv[1]))
os.makedirs(root, 0o700, exist_ok=True)
os.makedirs(root + "/attempts", 0o700, exist_ok=True)
path = os.path.join(root, sys.argv[2])
data = sys.stdin.buffer.read()
if len(data) != int(sys.argv[3]):
    sys.exit("the archive came cut short")
if not os.path.exists(path):
    part = path + "." + str(os.getpid())
    with open(part, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, path)
os.utime(path)
found = [os.path.join(root, n) for n in os.listdir(root) if n.startswith("moyai-") and n.endswith(".pyz")]
for old in sorted(found, key=os.path.getmtime)[:-{KEPT}]:
    os.unlink(old)
print(root)
"""
"""Run by the machine's own Python, as the archive can't be before it is there. Prints the directory's whole path."""


@lru_cache(maxsize=1)
def archive() -> tuple[str, bytes]:
    """Its name and its bytes."""
    data = bundle(MODULES, PACKAGES, MAIN)
    return f"moyai-{hashlib.sha256(data).hexdigest()[:16]}.pyz", data
