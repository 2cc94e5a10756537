"""The guard as one file that the nodes can run: a zip archive of its modules in the site's directory."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

NAME = "guard.pyz"
MODULES = (
    "agent/clocks",
    "agent/guard",
    "agent/guarding/line",
    "agent/guarding/proof",
    "agent/guarding/rank",
    "agent/guarding/record",
    "agent/killing",
    "agent/lease",
    "agent/local",
    "agent/messages",
    "agent/spawn",
    "agent/supervisor/output",
)
PACKAGES = ("", "agent", "agent/guarding", "agent/supervisor")
MAIN = "import sys\nfrom moyai.agent.guard import main\nsys.exit(main())\n"
_WHEN = (1980, 1, 1, 0, 0, 0)  # the same bytes from the same code


def archive(modules: Sequence[str] = MODULES, packages: Sequence[str] = PACKAGES, main: str = MAIN) -> bytes:
    """An archive, the guard's if nothing else is said. The packages in it are empty: what they import isn't there."""
    root = Path(__file__).parents[2]
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(zipfile.ZipInfo("__main__.py", _WHEN), main)
        for package in packages:
            made.writestr(zipfile.ZipInfo(f"moyai/{package}/__init__.py".replace("//", "/"), _WHEN), "")
        for module in modules:
            made.writestr(zipfile.ZipInfo(f"moyai/{module}.py", _WHEN), (root / f"{module}.py").read_bytes())
    return raw.getvalue()


def put(directory: Path) -> Path:
    """See that the archive lies in `directory`, readable for everybody who runs jobs; returns its path. Raises OSError.

    Guards that run keep the file that they were started from.
    """
    path, data = directory / NAME, archive()
    if not path.is_file() or path.read_bytes() != data:
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(data)
        temporary.chmod(0o644)
        temporary.replace(path)
    return path
