"""The catalogue: both languages hold the same, and everything that can be said has words."""

import re

import pytest

from moyai.locale import LANGUAGES, language, messages, placeholders, reason_text, say, t
from moyai.locale.figures import Language
from moyai.model.lifecycle import AttemptState, JobState
from moyai.model.reasons import Code, Reason


def test_both_languages_hold_the_same_keys_and_placeholders() -> None:
    english, japanese = messages("en"), messages("ja")
    assert english.keys() == japanese.keys()
    assert {k: placeholders(v) for k, v in english.items()} == {k: placeholders(v) for k, v in japanese.items()}


def test_japanese_is_japanese() -> None:
    for key in Code:
        assert re.search("[ぁ-んァ-ヶ一-龥]", messages("ja")[f"reason.{key}"]), key


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_code_and_state_has_words(lang: Language) -> None:
    known = messages(lang)
    assert {f"reason.{code}" for code in Code} == {key for key in known if key.startswith("reason.")}
    assert {f"reason-bare.{code}" for code in Code} >= {key for key in known if key.startswith("reason-bare.")}
    assert {f"job.{state}" for state in JobState} == {key for key in known if key.startswith("job.")}
    assert {f"attempt.{state}" for state in AttemptState} == {key for key in known if key.startswith("attempt.")}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("code", Code)
def test_every_reason_can_be_said_full_and_empty(code: Code, lang: Language) -> None:
    full = reason_text(Reason(code, "some-subject", "some-detail", 7_800_000_000, 9_530_000), lang)
    empty = reason_text(Reason(code), lang)
    assert full
    assert empty
    assert "{" not in full + empty
    for name, value in (("subject", "some-subject"), ("detail", "some-detail")):
        assert (value in full) == (name in {n for n, _ in placeholders(messages(lang)[f"reason.{code}"])})


@pytest.mark.parametrize(
    ("reason", "english", "japanese"),
    [
        (Reason(Code.DEARER, found=12_300_000), "¥12.3 dearer, lateness included", "遅れの分も含めて12.3円高い"),
        (Reason(Code.LATE, found=7_800_000_000), "would end 2 h 10 min past the deadline", "期限を2時間10分過ぎる"),
        (
            Reason(Code.RESIDENCY, "workload", "JP-40"),
            "the workload itself may only be in JP-40",
            "ワークロード自身 は JP-40 にのみ置ける",
        ),
        (
            Reason(Code.NO_FLAVOR, "cpus 16, accelerators H100:8"),
            "no kind of node there holds cpus 16, accelerators H100:8",
            "cpus 16, accelerators H100:8 を満たす種類のノードがない",
        ),
        (
            Reason(Code.POWER_CAP, wanted=2_600, found=400),
            "needs 2.6 kW at the feed; its power cap allows 400 W",
            "受電端で 2.6 kW 必要だが、電力上限で使えるのは 400 W",
        ),
        (Reason(Code.SIGNAL, found=9), "killed by signal SIGKILL (9)", "シグナル SIGKILL (9) で終了"),
        (
            Reason(Code.OUT_OF_MEMORY, wanted=2**30),
            "needed more memory than its 1 GiB",
            "メモリが 1 GiB では足りなかった",
        ),
        (Reason(Code.OUT_OF_MEMORY), "ran out of memory", "メモリが足りなくなった"),
        (Reason(Code.RETRIES_SPENT, wanted=1), "failed after 1 retry", "1回の再試行でも失敗した"),
        (Reason(Code.EXIT, found=0), "exit code 0", "終了コード 0"),
        (
            Reason(Code.TOO_FEW_NODES, "gpu", "", 4, 1),
            "needs 4 nodes of gpu; there: 1",
            "gpu が4台必要だが、1 台しかない",
        ),
    ],
)
def test_reasons_as_people_read_them(reason: Reason, english: str, japanese: str) -> None:
    assert (reason_text(reason, "en"), reason_text(reason, "ja")) == (english, japanese)


def test_a_job_can_not_write_to_the_reader_s_screen() -> None:
    said = reason_text(Reason(Code.LAUNCH_FAILED, detail="\x1b[2Jgone\nnext 日本"), "en")
    assert said == r"could not be launched: \x1b[2Jgone\nnext 日本"


@pytest.mark.parametrize(
    ("env", "lang"),
    [
        ({}, "en"),
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "ja_JP.UTF-8", "LC_ALL": "en_US.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "ja_JP"}, "ja"),
        ({"LANG": "en", "LC_ALL": "C", "MOYAI_LANG": "ja"}, "ja"),
        ({"LANG": "ja", "MOYAI_LANG": "EN"}, "en"),
        ({"LANG": "ja", "MOYAI_LANG": ""}, "ja"),
    ],
)
def test_the_reader_s_language(env: dict[str, str], lang: Language) -> None:
    assert language(env) == lang


def test_words_in_the_language_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOYAI_LANG", "ja")
    assert t("word.in", span=90_000_000) == "1分30秒後"
    monkeypatch.setenv("MOYAI_LANG", "en")
    assert t("word.in", span=90_000_000) == "in 1 min 30 s"


def test_what_is_missing_or_wrong_is_not_passed_over() -> None:
    with pytest.raises(KeyError):
        say("word.no-such-word", "en")
    with pytest.raises(KeyError):
        say("word.in", "en")
    with pytest.raises(ValueError, match="text or an integer"):
        say("word.in", "en", span=1.5)
