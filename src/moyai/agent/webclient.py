"""httpx as an agent loads it: late, and without what an agent has no use for."""

import sys
from types import ModuleType
from typing import cast


def load_httpx() -> ModuleType:
    """httpx without its command line, whose Rich and Click would be half of an agent's start."""
    modules = cast("dict[str, object]", sys.modules)
    if "httpx" in modules:
        return sys.modules["httpx"]
    modules["httpx._main"] = None  # Python's own mark for what can't be imported
    try:
        import httpx
    finally:
        del modules["httpx._main"]
    return httpx
