"""A thousand seeded worlds. `python -m moyai.twin soak --seeds 0..100000` plays more of them."""

import pytest

from moyai.twin.play import play, replay_command
from moyai.twin.rules import Rule

SEEDS = 1_000
SHARE = 50


@pytest.mark.parametrize("first", range(0, SEEDS, SHARE))
def test_every_promise_holds(first: int) -> None:
    failed = [p for p in map(play, range(first, first + SHARE)) if p.problem]
    assert not failed, "\n".join(f"{p.problem}\n    {replay_command(p.seed)}" for p in failed)


@pytest.mark.parametrize("rule", Rule)
def test_without_a_rule_some_seed_breaks_a_promise(rule: Rule) -> None:
    for seed in range(2_000):
        broken = play(seed, rule)
        if broken.problem:
            break
    else:
        pytest.fail(f"2,000 seeds do not notice that {rule} is off")
    assert replay_command(seed, rule) == f"python -m moyai.twin replay-seed {seed} --without {rule}"
    assert play(seed, rule) == broken, "the command shows the same again"
    assert play(seed).problem == "", "and with the rule nothing is wrong"
