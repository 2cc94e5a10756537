"""The jobs API by HTTP: what a head may say, and what becomes of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engines.ray.fakehead import FakeHead
from moyai.agent.engines.base import EngineDown
from moyai.agent.engines.batch.base import Refused, SchedulerDown
from moyai.agent.engines.ray import rest
from moyai.agent.engines.ray.rest import Entry, RayRest

DUPLICATE = b"Traceback (most recent call last):\n  ...\nValueError: Job with submission_id a.1 already exists.\n.\n"


@pytest.fixture
async def head() -> AsyncIterator[FakeHead]:
    async with FakeHead() as made:
        yield made


@pytest.fixture
async def api(head: FakeHead, tmp_path: Path) -> AsyncIterator[RayRest]:
    (tmp_path / "token").write_text("secret\n")
    made = RayRest(head.address, str(tmp_path / "token"))
    yield made
    await made.close()


async def test_the_token_is_sent(head: FakeHead, api: RayRest) -> None:
    assert (await api.version()).ray_version == "2.60.0"
    assert [asked[2] for asked in head.asked] == ["Bearer secret"]


async def test_a_token_that_was_changed_is_read_again(head: FakeHead, api: RayRest, tmp_path: Path) -> None:
    await api.version()
    head.answers["/api/jobs/"] = lambda token, _: (200, b"[]") if token == "Bearer new" else (401, b"no")
    with pytest.raises(SchedulerDown, match=r"refuses the token \(.*/token\)"):
        await api.listing()
    (tmp_path / "token").write_text("new\n")
    assert await api.listing() == b"[]"


async def test_no_token_where_one_is_wanted_is_said(head: FakeHead) -> None:
    head.answers["/api/jobs/"] = (401, b"Unauthorized")
    api = RayRest(head.address, "")
    with pytest.raises(SchedulerDown, match="write `token:`"):
        await api.listing()
    await api.close()


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"a\nb", b"x" * 5000])
async def test_a_file_that_holds_no_token_is_said(head: FakeHead, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad").write_bytes(content)
    api = RayRest(head.address, str(tmp_path / "bad"))
    with pytest.raises(SchedulerDown, match="bad is no token file"):
        await api.listing()
    assert head.asked == []
    await api.close()


async def test_another_major_version_is_refused(head: FakeHead, api: RayRest) -> None:
    head.answers["/api/version"] = (200, b'{"ray_version":"3.0.1"}')
    with pytest.raises(EngineDown, match=r"is Ray 3\.0\.1; this Moyai knows Ray 2"):
        await api.version()


@pytest.mark.parametrize("data", [b"", b"<html>", b"[1]", b"{}", b'{"ray_version":2}', b"[" * 100_000, b"\xff"])
async def test_garbage_is_a_head_that_is_down(head: FakeHead, api: RayRest, data: bytes) -> None:
    head.answers["/api/version"] = (200, data)
    with pytest.raises(SchedulerDown, match="makes no sense"):
        await api.version()


async def test_a_500_tells_its_last_line(head: FakeHead, api: RayRest) -> None:
    head.answers["/api/jobs/"] = (500, b"Traceback\n File x\nRuntimeError: no head\n.\n")
    with pytest.raises(SchedulerDown, match="answers 500 to /api/jobs/: RuntimeError: no head"):
        await api.listing()


async def test_an_answer_without_end_is_cut(head: FakeHead, api: RayRest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "MOST_BYTES", 100_000)
    head.answers["/api/jobs/"] = (200, b" " * 200_000)
    with pytest.raises(SchedulerDown, match="answers more than"):
        await api.listing()


async def test_nobody_there_is_said(api: RayRest, head: FakeHead) -> None:
    await api.version()
    away = RayRest("http://127.0.0.1:1", "")
    with pytest.raises(SchedulerDown, match=r"127\.0\.0\.1:1"):
        await away.version()
    await away.close()


async def test_a_duplicate_is_told_apart_from_an_error(head: FakeHead, api: RayRest) -> None:
    entry = Entry("a.1", "true", {"CPU": 2, "GPU": 1, "memory": 9, "npu": 2})
    head.answers["/api/jobs/"] = (500, DUPLICATE)
    assert await api.submit(entry) is False
    head.answers["/api/jobs/"] = (400, b"Traceback\nTypeError: entrypoint must be a string\n")
    with pytest.raises(Refused, match="entrypoint must be a string"):
        await api.submit(entry)
    head.answers["/api/jobs/"] = (200, b'{"submission_id":"a.1"}')
    assert await api.submit(entry) is True
    assert entry.body() == {
        "submission_id": "a.1",
        "entrypoint": "true",
        "metadata": {},
        "entrypoint_num_cpus": 2,
        "entrypoint_num_gpus": 1,
        "entrypoint_memory": 9,
        "entrypoint_resources": {"npu": 2},
    }


async def test_what_is_gone_is_no_error(head: FakeHead, api: RayRest) -> None:
    assert await api.job("a/b") is None
    assert await api.stop("a/b") is False
    await api.delete("a/b")
    assert await api.logs("a/b") == ""
    assert {asked[1] for asked in head.asked} == {"/api/jobs/a%2Fb", "/api/jobs/a%2Fb/stop", "/api/jobs/a%2Fb/logs"}
