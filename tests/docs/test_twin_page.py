"""docs/twin.md: its scenario is one, and its commands and options exist."""

import re
from pathlib import Path

from moyai.model.specs.scenario import ScenarioSpec
from moyai.twin.scenarios.make import setup
from moyai.twin.scenarios.scenario import built_in, resolve

PAGE = (Path(__file__).parents[2] / "docs" / "twin.md").read_text("utf-8")
CLI = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")


def test_the_scenario_is_one() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    made = setup(resolve(ScenarioSpec.from_text(text, "docs/twin.md"), Path()), None, 1)
    assert len(made.arrivals) > 200


def test_its_options_exist() -> None:
    for option in set(re.findall(r"--[a-z-]+", PAGE)):
        assert option in CLI, option


def test_every_policy_and_scenario_is_named() -> None:
    from moyai.twin.policies import NAMES

    for name in (*NAMES, *built_in()):
        assert f"`{name}`" in PAGE, name
