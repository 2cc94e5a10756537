"""A short job: compress the source of Python's standard library again and again for some seconds, and say how well."""

import os
import sys
import sysconfig
import time
import zlib
from pathlib import Path


def main(seconds: float) -> None:
    """Keep a core lightly busy for `seconds`."""
    sources = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    raw = packed = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        data = sources[raw % len(sources)].read_bytes()
        raw, packed = raw + len(data), packed + len(zlib.compress(data, 6))
        time.sleep(0.05)  # three sites share this machine
    print(f"{os.environ.get('MOYAI_SITE')}: {raw:,} bytes became {packed:,} ({packed / max(raw, 1):.0%})")


if __name__ == "__main__":
    main(float(sys.argv[1]))
