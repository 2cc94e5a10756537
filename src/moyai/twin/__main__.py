"""`python -m moyai.twin`: play one seed again, or many of them; look into a trace."""

import argparse
import sys
import time
from collections.abc import Sequence

from moyai.twin.play import play, replay_command
from moyai.twin.rules import Rule
from moyai.twin.traces import command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0 where every promise held, 1 where one didn't, 2 for bad words."""
    parser = argparse.ArgumentParser(prog="python -m moyai.twin", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("replay-seed", help="play one seed and show what happens in it")
    one.add_argument("seed", type=int)
    one.add_argument("--without", choices=[r.value for r in Rule], help="switch one rule off")
    one.add_argument("--quiet", action="store_true", help="show the outcome alone")
    many = commands.add_parser("soak", help="play many seeds, and show each that fails")
    many.add_argument("--seeds", default="0..1000", metavar="A..B", help="from A up to, not with, B")
    many.add_argument("--without", choices=[r.value for r in Rule], help="switch one rule off")
    many.add_argument("--failures", type=int, default=20, metavar="N", help="stop after N seeds that fail (20)")
    command.add_arguments(commands.add_parser("trace", help="show what is in a trace, and what of it can't be taken"))
    arguments = parser.parse_args(argv)
    if arguments.command == "trace":
        return command.run(arguments)
    rule = Rule(arguments.without) if arguments.without else None
    if arguments.command == "replay-seed":
        return _replay(arguments.seed, rule, quiet=arguments.quiet)
    first, dots, last = arguments.seeds.partition("..")
    if not dots or not first.isdecimal() or not last.isdecimal() or int(first) >= int(last):
        parser.error(f"--seeds {arguments.seeds}: write A..B with A < B, as in 0..1000")
    return _soak(range(int(first), int(last)), rule, arguments.failures)


def _replay(seed: int, rule: Rule | None, *, quiet: bool) -> int:
    played = play(seed, rule, None if quiet else print)
    print(f"{played.log_events} events, {played.runs} runs, {played.takeovers} take-overs, head {played.head[:16]}")
    if not played.problem:
        print(f"seed {seed}: every promise held")
        return 0
    print(f"seed {seed}: {played.problem}")
    return 1


def _soak(seeds: Sequence[int], rule: Rule | None, most_failures: int) -> int:
    began = shown = time.monotonic()
    events = failed = 0
    for done, seed in enumerate(seeds, 1):
        played = play(seed, rule)
        events += played.log_events
        if played.problem:
            failed += 1
            print(f"seed {seed}: {played.problem}\n    {replay_command(seed, rule)}", flush=True)
        now = time.monotonic()
        if now - shown > 10 or done == len(seeds) or failed >= most_failures:
            shown = now
            rate = done / max(now - began, 1e-9)
            left = (len(seeds) - done) / max(rate, 1e-9)
            print(
                f"{done}/{len(seeds)} seeds, {events} events, {failed} failed, {rate:.1f}/s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
        if failed >= most_failures:
            break
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
