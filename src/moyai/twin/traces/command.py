"""`python -m moyai.twin trace FILE`: what is in a trace, and what of it can't be taken."""

import argparse
import sys
from pathlib import Path

from moyai.twin.traces.read import Format, read
from moyai.twin.traces.summary import bad_lines, table
from moyai.twin.traces.trace import Limits, TraceError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser of the command its arguments."""
    parser.add_argument("file", type=Path, help="plain, gzip, or a tar with one file in it")
    parser.add_argument("--format", choices=[f.value for f in Format], help="instead of what its first line says")
    parser.add_argument("--strict", action="store_true", help="fail where a row can't be taken")
    parser.add_argument("--largest-gpus", type=_count, default=0, metavar="N", help="a job of more GPUs is a bad row")
    parser.add_argument("--largest-cores", type=_count, default=0, metavar="N", help="a job of more cores is a bad row")


def run(arguments: argparse.Namespace) -> int:
    """Print the table, and the bad rows to stderr. Returns 0; 1 for an unusable file, or any bad row under --strict."""
    limits = Limits(job_gpus=arguments.largest_gpus, job_cores=arguments.largest_cores)
    format = Format(arguments.format) if arguments.format else None
    try:
        trace, bad = read(arguments.file, format, strict=arguments.strict, limits=limits)
    except TraceError as error:
        print(error, file=sys.stderr)
        return 1
    print(table(trace, bad))
    if bad:
        print(bad_lines(bad), file=sys.stderr)
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or not 0 < int(text[:19]) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a whole number of 1 or more")
    return int(text)
