"""A process that is told to end while it starts: it undoes what it did, and leaves by the shell's code for the signal."""

import signal
import subprocess
import sys

import pytest

HARD = """
import os, signal, sys
from moyai.server.told import end_when_told
number = int(sys.argv[1])

def undo():
    os.kill(os.getpid(), number)  # once more, impatiently
    print("undone", flush=True)

class Told:
    def __set_name__(self, owner, name):  # what is raised here is wrapped, and then caught
        os.kill(os.getpid(), number)

end_when_told(undo)
try:
    exec("class Owner:\\n    told = Told()")
except BaseException:
    pass
print("went on")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_wherever_it_is_told(number: int) -> None:
    done = subprocess.run([sys.executable, "-c", HARD, str(int(number))], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "undone\n", "")


def test_it_ends_even_where_undoing_fails() -> None:
    code = HARD.replace('print("undone", flush=True)', "raise OSError")
    done = subprocess.run([sys.executable, "-c", code, str(int(signal.SIGTERM))], capture_output=True, timeout=60)
    assert done.returncode == 143
