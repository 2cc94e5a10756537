"""What views say in words: exit codes, tables of 80 columns, the two languages."""

from dataclasses import replace

import pytest

from moyai.cli import rows
from moyai.model.lifecycle import AttemptState, JobState
from moyai.model.reasons import Code, Considered, Reason
from moyai.model.site import SiteProfile
from moyai.model.views import AttemptView, FlavorUse, JobView, SiteState, SiteStatus, WhyView
from moyai.model.workload import Need

NOW = 1_790_000_000_000_000

ATTEMPT = AttemptView(
    attempt="train-0123456789.1",
    ordinal=1,
    site="ishikari",
    flavor="standard",
    nodes=(0,),
    state=AttemptState.RUNNING,
    issued_at=NOW - 9_000_000,
    started_at=NOW - 8_000_000,
    ended_at=None,
    planned_end=NOW,
    reason=None,
    restore=None,
    covered_us=0,
    run_us=0,
    cpu_us=0,
    energy_j=0,
    energy_modelled=True,
    cost_micro_yen=0,
    carbon_mg=0,
    output_bytes=0,
)
JOB = JobView(
    job="train-0123456789",
    name="train",
    tenant="local",
    project="default",
    actor="uid:0",
    state=JobState.ACTIVE,
    reason=None,
    site="ishikari",
    submitted_at=NOW - 10_000_000,
    started_at=NOW - 8_000_000,
    ended_at=None,
    not_before=0,
    planned_start=None,
    deadline=None,
    deadline_kept=None,
    exit_code=None,
    need=Need(),
    nodes=1,
    priority=0,
    expect_us=0,
    limit_us=0,
    retries=0,
    own_failures=0,
    residency=(),
    data=(),
    attempts=(ATTEMPT,),
    checkpoints=(),
    wait_us=2_000_000,
    run_us=0,
    cost_micro_yen=1_230_000,
    energy_j=3,
    energy_modelled=True,
    carbon_mg=4,
    moved_bytes=0,
)


def ended(state: JobState, job_reason: Reason | None, attempt_reason: Reason | None) -> JobView:
    return replace(JOB, state=state, reason=job_reason, attempts=(replace(ATTEMPT, reason=attempt_reason),))


@pytest.mark.parametrize(
    ("job", "code"),
    [
        (ended(JobState.SUCCEEDED, None, None), 0),
        (ended(JobState.FAILED, Reason(Code.EXIT, found=7), Reason(Code.EXIT, found=7)), 7),
        (ended(JobState.FAILED, Reason(Code.RETRIES_SPENT, wanted=2), Reason(Code.EXIT, found=9)), 9),
        (ended(JobState.FAILED, Reason(Code.COMMAND_NOT_FOUND, found=127), None), 127),
        (ended(JobState.FAILED, None, Reason(Code.SIGNAL, found=9)), 137),
        (ended(JobState.FAILED, Reason(Code.TIME_LIMIT, wanted=1), None), 3),
        (ended(JobState.FAILED, Reason(Code.OUT_OF_MEMORY), None), 3),
        (ended(JobState.CANCELLED, Reason(Code.CANCELLED), Reason(Code.SIGNAL, found=15)), 3),
        (JOB, 3),
    ],
)
def test_the_exit_code_is_the_job_s_own(job: JobView, code: int) -> None:
    assert rows.exit_code(job) == code


CONSIDERED = (
    Considered(
        "ishikari", "standard", True, Reason(Code.CHOSEN), NOW, NOW + 1, 1_234_560_000, 12_345, 6_789_000, 5_000_000_000
    ),
    Considered(
        "tokyo",
        "standard",
        True,
        Reason(Code.DEARER, found=12_300_000),
        NOW + 7_800_000_000,
        NOW + 9,
        1_300_000_000,
        12_345,
        9,
        0,
    ),
    Considered("fukuoka", "gpu", False, Reason(Code.RESIDENCY, "corpus-ja@3", "JP-01")),
    Considered("fukuoka", "standard", False, Reason(Code.NO_FLAVOR, "cpus 16, memory 128GiB, accelerators H100:8")),
)


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_the_table_of_sites_fits_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, lang: str
) -> None:
    from rich.cells import cell_len

    monkeypatch.setenv("MOYAI_LANG", lang)
    rows.considered_table(CONSIDERED, NOW)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= 80
    chosen = next(line for line in lines if "✔" in line)
    assert "ishikari" in chosen
    assert "5 GB" in chosen
    assert chosen == next(line for line in lines if "ishikari" in line), "the chosen one stands first"
    assert any("fukuoka/gpu" in line and "corpus-ja@3" in line for line in lines)
    assert "…" not in "".join(lines), "nothing that somebody needs is cut"


def test_ps_of_a_long_id_shows_the_whole_id(capsys: pytest.CaptureFixture[str]) -> None:
    long = "a-name-of-the-longest-kind-that-the-rules-for-names-allow-to-b-0123456789"
    rows.jobs_table((replace(JOB, job=long), JOB), NOW)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert long in "".join(line[: lines[0].index("STATE")].strip() for line in lines)


def test_only_rules_that_waiting_cannot_change_make_a_job_impossible() -> None:
    def view(*codes: Code) -> WhyView:
        considered = tuple(Considered("a", "", False, Reason(code)) for code in codes)
        return WhyView("", JobState.PENDING, Reason(Code.NO_SITE), considered)

    assert rows.impossible(view(Code.RESIDENCY, Code.NO_FLAVOR, Code.POWER_CAP))
    assert not rows.impossible(view(Code.RESIDENCY, Code.SITE_LOST))
    assert not rows.impossible(view())


def test_the_turns_of_a_job_in_words() -> None:
    def said(state: AttemptState, ordinal: int = 1, **changes: object) -> str:
        return rows.turn_words(JOB, replace(ATTEMPT, state=state, ordinal=ordinal, **changes))  # type: ignore[arg-type]

    assert said(AttemptState.ISSUED) == "train-0123456789 goes to ishikari"
    assert said(AttemptState.ISSUED, 2, site="tokyo") == "attempt 2 goes to tokyo"
    assert said(AttemptState.LOST, reason=Reason(Code.SITE_LOST)).startswith("attempt 1 at ishikari is lost: out of")
    resumed = said(AttemptState.RUNNING, 2, site="tokyo", restore="ab", covered_us=72_000_000)
    assert resumed == "runs at tokyo, resumed from its checkpoint (1 min 12 s of work saved)"
    assert said(AttemptState.SUCCEEDED) == ""


def test_sites_as_an_operator_sees_them(capsys: pytest.CaptureFixture[str]) -> None:
    profile = SiteProfile(
        "ishikari", "host", "JP-01", 0, 0, (), 19_500_000, 532_000, power_cap_w=40_000, synthetic=True
    )  # type: ignore[arg-type]
    flavor = FlavorUse("standard", 4, 16, 2**36, "", 0, 20, 2**30, 0, 2)
    site = SiteStatus("ishikari", SiteState.JOINED, profile, False, 1, (), (flavor,), 1_250, 1, 2, 0, 7, "")
    rows.sites_table((site,))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for part in ("ishikari", "ready*", "JP-01", "2/4", "20/64", "1.25 kW/40 kW", "¥19.5", "532"):
        assert part in out
