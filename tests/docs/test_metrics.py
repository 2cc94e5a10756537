"""docs/metrics.md and examples/prometheus/alerts.yaml name the figures that are shown: no other, and all of them."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from moyai.model.ids import SiteName
from moyai.model.site import SiteProfile
from moyai.model.units import Instant

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
RULES = ROOT / "examples" / "prometheus" / "alerts.yaml"
_NAME = re.compile(r"\b(?:moyai|process)_[a-z_]+\b")
_SUFFIXES = {"counter": "_total", "info": "_info"}


class _Anything:
    """Stands for the parts whose figures are listed here, not looked up."""

    def __getattr__(self, _: str) -> "_Anything":
        return self

    def append(self, _: object) -> None:
        pass


def _families(registry: CollectorRegistry) -> dict[str, Metric]:
    return {family.name + _SUFFIXES.get(family.type, ""): family for family in registry.collect()}


def _control() -> dict[str, Metric]:
    from moyai.model.lifecycle import JobState
    from moyai.model.views import Mode, SiteState
    from moyai.server.gauges import FlavorSeen, Looked, SiteSeen, families
    from moyai.server.metrics import ControlMetrics

    flavor = FlavorSeen("cpu", 1, 1, 0, 0)
    site = SiteSeen(SiteName("tokyo"), SiteState.JOINED, 1, 0, 0, {"running": 1}, (flavor,), 1)
    seen = Looked(Mode.WRITING, 1, 1, 0, 1, dict.fromkeys(JobState, 0), (), Instant(0), (site,), 0, False, {"acme": 1})
    metrics = ControlMetrics(_Anything())  # type: ignore[arg-type]
    return _families(metrics.registry) | {f.name + _SUFFIXES.get(f.type, ""): f for f in families(seen)}


def _agent(tmp_path: Path) -> dict[str, Metric]:
    from moyai.agent.core.core import AgentCore
    from moyai.agent.metrics import AgentMetrics

    class Shell(_Anything):
        core = AgentCore.restore(SiteName("tokyo"), {}, "i")

        class places:
            root = tmp_path

        class engine:
            capacity: Callable[[], tuple[()]] = staticmethod(lambda: ())

    profile = SiteProfile(SiteName("tokyo"), "host", "JP", 0, 0, (), 0, 0)
    return _families(AgentMetrics(Shell(), profile).registry)  # type: ignore[arg-type]


@pytest.fixture
def shown(tmp_path: Path) -> dict[str, Metric]:
    return _control() | _agent(tmp_path)


def _plain(names: Iterable[str]) -> set[str]:
    """Names of families: a histogram's parts are one."""
    return {re.sub(r"(?<=_seconds)_(?:bucket|sum|count)$", "", name) for name in names}


def test_the_page_tells_of_every_figure_and_of_no_other(shown: dict[str, Metric]) -> None:
    told = _plain(_NAME.findall(PAGE.read_text("utf-8")))
    assert told == set(shown), (sorted(told - set(shown)), sorted(set(shown) - told))


def test_the_page_names_the_labels(shown: dict[str, Metric]) -> None:
    rows = re.findall(r"^\| `(\w+)(?:\{([\w,]+)\})?` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(rows) > 40
    for name, labels in rows:
        family = shown[name]
        found = {key for sample in family.samples for key in sample.labels} - {"le", "version", "engine"}
        if name.startswith(("moyai_agent", "moyai_journal", "moyai_reports_oldest")):
            found -= {"site"}  # said once for all of them
        if family.samples and family.type != "counter":
            assert found == set(filter(None, labels.split(","))), name


def test_names_are_in_the_manner_of_openmetrics(shown: dict[str, Metric]) -> None:
    for name, family in shown.items():
        assert family.documentation.endswith(".") or name.startswith("process_"), name
        assert not re.search(r"_(?:ms|us|mb|percent|micro)\b", name), name


def _rules() -> list[dict[str, object]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_rules_ask_for_figures_that_are_shown(shown: dict[str, Metric]) -> None:
    rules = _rules()
    assert len({rule["alert"] for rule in rules}) == len(rules) > 15
    for rule in rules:
        asked = _plain(_NAME.findall(str(rule["expr"])))
        assert asked, rule
        assert asked <= set(shown), (rule["alert"], asked - set(shown))
        assert rule["annotations"]["summary"]  # type: ignore[index]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: apt-get install prometheus")
def test_prometheus_takes_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


WHEN = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'moyai_control_mode{{instance="c", mode="writing"}}', values: '1x10 0x30'}}
      - {{series: 'moyai_control_mode{{instance="c", mode="full"}}', values: '0x10 1x30'}}
      - {{series: 'moyai_site_up{{instance="c", site="tokyo"}}', values: '1x40'}}
      - {{series: 'moyai_site_up{{instance="c", site="osaka"}}', values: '1x10 0x30'}}
      - {{series: 'moyai_site_lease_left_seconds{{instance="c", site="tokyo"}}', values: '4x40'}}
      - {{series: 'moyai_lease_seconds{{instance="c"}}', values: '15x40'}}
      - {{series: 'moyai_jobs{{instance="c", state="pending"}}', values: '7x90'}}
      - {{series: 'moyai_site_free_nodes{{instance="c", site="tokyo", flavor="cpu"}}', values: '2x90'}}
      - {{series: 'moyai_attempts_issued_total{{instance="c", site="tokyo"}}', values: '9x90'}}
      - {{series: 'process_resident_memory_bytes{{instance="t"}}', values: '300000000x40'}}
      - {{series: 'moyai_agent_info{{instance="t", site="tokyo"}}', values: '1x40'}}
    alert_rule_test:
{cases}
"""
FIRES = (
    ("MoyaiNoLeader", "5m", None),
    ("MoyaiNoLeader", "20m", {"severity": "page"}),
    ("MoyaiReadOnly", "20m", {"severity": "page", "instance": "c", "mode": "full"}),
    ("MoyaiSiteDown", "20m", {"severity": "page", "instance": "c", "site": "osaka"}),
    ("MoyaiSiteLate", "20m", {"severity": "ticket", "instance": "c", "site": "tokyo"}),
    ("MoyaiNothingStarts", "80m", {"severity": "ticket"}),
    ("MoyaiAgentLarge", "20m", {"severity": "ticket", "instance": "t", "site": "tokyo"}),
    ("MoyaiTwoLeaders", "20m", None),
)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: apt-get install prometheus")
def test_the_rules_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    cases: list[dict[str, object]] = []
    summaries = {str(rule["alert"]): rule["annotations"] for rule in _rules()}
    for name, at, labels in FIRES:
        expected: list[dict[str, object]] = []
        if labels is not None:
            words = yaml.safe_dump(summaries[name])
            for key, value in labels.items():
                words = words.replace("{{ $labels." + key + " }}", value)
            words = words.replace("{{ $value | humanize1024 }}", "286.1Mi")
            expected.append({"exp_labels": labels, "exp_annotations": yaml.safe_load(words)})
        cases.append({"eval_time": at, "alertname": name, "exp_alerts": expected})
    written = "".join(f"      {line}\n" for line in yaml.safe_dump(cases, width=1_000).splitlines())
    file = tmp_path / "when.yaml"
    file.write_text(WHEN.format(rules=RULES, cases=written))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
