"""Bad workload files: each mistake with the exact message that a person reads."""

from pathlib import Path

import pytest

from moyai.model.specs.fleet import FleetSpec
from moyai.model.specs.job import JobSpec
from moyai.model.specs.problems import SHOWN, SpecError
from moyai.model.specs.resolve import resolve
from moyai.model.units import Instant

GOOD = "name: train\nrun: python train.py\n"
NAME_RULE = "use lower-case letters, digits and '-', at most 63"


def said(text: str | bytes) -> str:
    with pytest.raises(SpecError) as caught:
        JobSpec.from_text(text, "train.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # the text itself
        ("", "train.yaml: is empty; write keys and values, such as 'name: hello'"),
        ("# nothing\n", "train.yaml: is empty; write keys and values, such as 'name: hello'"),
        ("- a\n", "train.yaml:1: a list is no mapping; write keys and values, such as 'name: hello'"),
        ("hello\n", "train.yaml:1: 'hello' is no mapping; write keys and values, such as 'name: hello'"),
        (
            "name: x\nresources:\n\tcpus: 4\n",
            "train.yaml:3: a tab indents this line, and YAML takes spaces only; write two spaces for each tab",
        ),
        (
            "name: x\nrun: |\n  a\n\tb\n",
            "train.yaml:4: a tab indents this line, and YAML takes spaces only; write two spaces for each tab",
        ),
        (
            "name: x\nname: y\nrun: a\n",
            "train.yaml:2: name: appears twice; the first is on line 1; keep one of them",
        ),
        (
            GOOD + "env:\n  A: 1\n  A: 2\n",
            "train.yaml:5: env.A: appears twice; the first is on line 4; keep one of them",
        ),
        (GOOD + "---\nname: y\n", "train.yaml:3: a second document starts here; write one workload in a file"),
        (b"name: x\nrun: caf\xe9\n", "train.yaml:2: is not UTF-8: byte 0xe9 at position 16; save it as UTF-8"),
        (b"\xff\xfen\0a\0", "train.yaml:1: is not UTF-8: byte 0xff at position 0; save it as UTF-8"),
        ("name: x\nrun: a\0b\n", r"train.yaml:2: '\x00' stands here, and no text may hold it; take it out"),
        ("name: x\nrun: \x1b[31m\n", r"train.yaml:2: '\x1b' stands here, and no text may hold it; take it out"),
        ("name: x\nrun: \ud800\n", r"train.yaml:2: '\ud800' stands here, and no text may hold it; take it out"),
        (
            "x" * (1024 * 1024 + 1),
            "train.yaml: is larger than 1 MiB; put large input into a dataset or into a file beside it",
        ),
        ("あ" * 400_000, "train.yaml: is larger than 1 MiB; put large input into a dataset or into a file beside it"),
        (
            "name: x\nrun: echo a: b\n",
            "train.yaml:2: is no YAML here: mapping values are not allowed in this context; put the value in quotes",
        ),
        (
            "name: x\nrun: @echo\n",
            "train.yaml:2: is no YAML here: found character that cannot start any token while scanning for the next token; "
            "put the value in quotes",
        ),
        (
            "{name: x, run: y\n",
            "train.yaml:2: is no YAML here: did not find expected ',' or '}' while parsing a flow mapping",
        ),
        ("[" * 1000, "train.yaml:1: is nested too deeply; nest at most 32 levels"),
        (GOOD + "env: &e {A: *e}\n", "train.yaml:3: '*e' holds itself; write the values out"),
        (GOOD + "env: *e\n", "train.yaml:3: '*e' is no anchor of this file; write '&e' before it"),
        (
            GOOD + "env: {" + "".join(f"A{i}: *a, " for i in range(65)).replace("A0: *a", "A0: &a x", 1) + "B: *a}\n",
            "train.yaml:3: more than 64 aliases; write the values out",
        ),
        ("? [a]\n: b\n", "train.yaml:1: a key must be plain text; put it in quotes if it is meant as text"),
        (
            "name: x\nrun: !!python/object/apply:os.system [id]\n",
            "train.yaml:2: run: 'tag:yaml.org,2002:python/object/apply:os.system' tags aren't used in these files; take it out",
        ),
        # keys
        ("run: a\n", "train.yaml:1: name: is missing; write for example 'name: train-gpt'"),
        ("name: x\n", "train.yaml:1: run: is missing; write for example 'run: python train.py'"),
        ("name: x\nrun:\n", "train.yaml:2: run: has no value; write one, or leave the line out"),
        (GOOD + "deadline: ~\n", "train.yaml:3: deadline: has no value; write one, or leave the line out"),
        (GOOD + "resorces: {}\n", "train.yaml:3: resorces: is no known key; did you mean 'resources'?"),
        (GOOD + "Nodes: 2\n", "train.yaml:3: Nodes: is no known key; did you mean 'nodes'?"),
        (
            GOOD + "resources: {disk: 1TB}\n",
            "train.yaml:3: resources.disk: is no known key; known here: cpus, memory, accelerators",
        ),
        (
            GOOD + "data:\n  - {dataset: a}\n  - {dataset: b, mounts: /b}\n",
            "train.yaml:5: data[1].mounts: is no known key; did you mean 'mount'?",
        ),
        (GOOD + "<<: {nodes: 2}\n", None),
        # shapes
        ("name: {a: b}\nrun: x\n", "train.yaml:1: name: a mapping stands where a single value should"),
        (GOOD + "resources: 4\n", None),
        (
            GOOD + "residency: JP\n",
            "train.yaml:3: residency: 'JP' stands where a list should; write for example 'residency: [JP]'",
        ),
        (
            GOOD + "checkpoint: yes\n",
            "train.yaml:3: checkpoint: 'yes' stands where a mapping of keys to values should; "
            "write for example 'checkpoint: {signal: SIGUSR1, grace: 60s}'",
        ),
        # values
        ('name: "a\\nb"\nrun: x\n', rf"train.yaml:1: name: 'a\nb' holds '\n'; {NAME_RULE}, such as 'a-b'"),
        ("name: Train GPT\nrun: x\n", f"train.yaml:1: name: 'Train GPT' holds 'T'; {NAME_RULE}, such as 'train-gpt'"),
        ("name: 訓練\nrun: x\n", f"train.yaml:1: name: '訓練' holds '訓'; {NAME_RULE}"),
        ("name: -x\nrun: x\n", f"train.yaml:1: name: '-x' begins or ends with '-'; {NAME_RULE}, such as 'x'"),
        ("name: ''\nrun: x\n", f"train.yaml:1: name: '' is empty; {NAME_RULE}"),
        (f"name: {'a' * 64}\nrun: x\n", f"train.yaml:1: name: '{'a' * 40}…{'a' * 16}' has 64 characters; {NAME_RULE}"),
        (
            GOOD + "resources:\n  accelerators: H100:0\n",
            "train.yaml:4: resources.accelerators: 'H100:0' asks for none; write 'H100:1' or leave the line out",
        ),
        (GOOD + "resources: {memory: 80}\n", "train.yaml:3: resources.memory: '80' has no unit; write '80GiB'"),
        (GOOD + "nodes: 0\n", "train.yaml:3: nodes: '0' is out of range; write a whole number from 1 to 4,096"),
        (GOOD + "nodes: 1_000\n", "train.yaml:3: nodes: '1_000' is no whole number; write one from 1 to 4,096"),
        (
            GOOD + "deadline: 2026-12-01T09:00\n",
            "train.yaml:3: deadline: '2026-12-01T09:00' names no time zone; "
            "write '2026-12-01T09:00+09:00', or end it with 'Z' for UTC",
        ),
        (GOOD + "limit: 90\n", "train.yaml:3: limit: '90' has no unit; write '90s', '90m' or '90h'"),
        (
            GOOD + "limit: 1h\nexpect: 2h\n",
            "train.yaml:3: limit: '1h' is shorter than `expect`; raise it, or lower `expect`",
        ),
        (GOOD + "residency: [Japan]\n", "train.yaml:3: residency[0]: 'Japan' is no ISO 3166 code; write 'JP'"),
        (
            GOOD + "residency:\n  - JP\n  - JP-48\n",
            "train.yaml:5: residency[1]: 'JP-48' is no ISO 3166 code; "
            "write a country such as 'JP', or a part of it such as 'JP-40'",
        ),
        (
            GOOD + "residency: []\n",
            "train.yaml:3: residency: the empty list allows no place at all; name a code such as 'JP', or leave the line out",
        ),
        (GOOD + "residency: [JP, JP]\n", "train.yaml:3: residency[1]: 'JP' stands in the list twice; keep one of them"),
        (
            GOOD + "data: [{dataset: a@x}]\n",
            "train.yaml:3: data[0].dataset: 'a@x' has no whole number after its '@'; write 'a@1', or 'a' for the newest",
        ),
        (
            GOOD + "data: [{dataset: a}, {dataset: a@2}]\n",
            "train.yaml:3: data[1].dataset: 'a@2' is listed twice; list each dataset once",
        ),
        (
            GOOD + "data: [{dataset: a, mount: /d}, {dataset: b, mount: /d/e}]\n",
            "train.yaml:3: data[1].mount: '/d/e' overlaps with the mount at /d; give each a path of its own",
        ),
        (
            GOOD + "data: [{dataset: a, mount: data}]\n",
            "train.yaml:3: data[0].mount: 'data' is no absolute path; write '/data'",
        ),
        (
            GOOD + "checkpoint: {path: /a/../etc}\n",
            "train.yaml:3: checkpoint.path: '/a/../etc' is no plain path; write '/a/etc'",
        ),
        (
            GOOD + "checkpoint: {signal: usr1}\n",
            "train.yaml:3: checkpoint.signal: 'usr1' is no signal that can be asked for; write 'SIGUSR1'",
        ),
        (GOOD + "on_partition: kill\n", "train.yaml:3: on_partition: 'kill' is not known here; write 'stop' or 'wait'"),
        (
            GOOD + "env: {MOYAI_RANK: 3}\n",
            "train.yaml:3: env.MOYAI_RANK: is set by Moyai; choose a name that does not begin with MOYAI_",
        ),
        (GOOD + "env: {a b: 3}\n", "train.yaml:3: env.a b: is no name of a variable; use letters, digits and '_'"),
        ('name: x\nrun: "a\\0b"\n', "train.yaml:2: run: holds a NUL character; take it out"),
        ("name: x\nrun: '  '\n", "train.yaml:2: run: '  ' is empty; write for example 'run: python train.py'"),
        (
            f"name: x\nrun: {'y' * 60_001}\n",
            f"train.yaml:2: run: '{'y' * 40}…{'y' * 16}' has 60,001 bytes; put it in a script beside it; "
            "at most 60,000 bytes fit here",
        ),
    ],
)
def test_a_mistake_and_its_message(text: str | bytes, message: str | None) -> None:
    if message is None:
        assert said(text)
    else:
        assert said(text) == message


def test_all_mistakes_are_said_at_once_in_the_order_of_lines() -> None:
    text = "nodes: many\nresources:\n  memory: 80\n  gpu: 8\nname: X\nname: y\nlimit:\n"
    assert said(text).splitlines() == [
        "train.yaml:1: nodes: 'many' is no whole number; write one from 1 to 4,096",
        "train.yaml:1: run: is missing; write for example 'run: python train.py'",
        "train.yaml:3: resources.memory: '80' has no unit; write '80GiB'",
        "train.yaml:4: resources.gpu: is no known key; known here: cpus, memory, accelerators",
        f"train.yaml:5: name: 'X' holds 'X'; {NAME_RULE}, such as 'x'",
        "train.yaml:6: name: appears twice; the first is on line 5; keep one of them",
        "train.yaml:7: limit: has no value; write one, or leave the line out",
    ]


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    assert said(bomb) == "train.yaml:5: holds more than 10,000 values; aliases count as what they stand for"


def test_thousands_of_mistakes_are_counted() -> None:
    text = GOOD + "".join(f"key{i}: 1\n" for i in range(3_000))
    assert said(text).splitlines()[SHOWN:] == ["and 2960 more"]


def test_a_hostile_key_can_not_write_to_the_screen() -> None:
    assert said(GOOD + '"\\e[2J\\nx": 1\n').startswith(r"train.yaml:3: \x1b[2J\nx: is no known key")


def test_a_hostile_file_name_can_not_either(tmp_path: Path) -> None:
    file = tmp_path / "\x1b[2J.yaml"
    file.write_text("name: a\nrun: b\n")
    assert JobSpec.from_file(file).source.file == str(file)
    file.write_text("name: a\n")
    with pytest.raises(SpecError) as caught:
        JobSpec.from_file(file)
    assert str(caught.value).startswith(f"{tmp_path}/\\x1b[2J.yaml:1: run: is missing")


def test_a_file_that_is_none(tmp_path: Path) -> None:
    missing = tmp_path / "no.yaml"
    for path, message in (
        (missing, f"{missing}: no such file; check its name and where you are"),
        (tmp_path, f"{tmp_path}: is a directory; name a file in it"),
        (tmp_path / ("x" * 300), f"{tmp_path / ('x' * 300)}: can't be read: File name too long"),
    ):
        with pytest.raises(SpecError) as caught:
            JobSpec.from_file(path)
        assert str(caught.value) == message


def test_a_ten_megabyte_file(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * 10_000_000)
    with pytest.raises(SpecError, match="is larger than 1 MiB"):
        JobSpec.from_file(large)


def test_a_deadline_in_the_past_has_its_line() -> None:
    spec = JobSpec.from_text(GOOD + "deadline: 2026-12-01T09:00+09:00\n", "train.yaml")
    with pytest.raises(SpecError) as caught:
        resolve(spec, Instant(1_796_083_200_000_000 + 5_400_000_123))
    assert str(caught.value) == (
        "train.yaml:3: deadline: '2026-12-01T00:00:00Z' is in the past, by 1h30m: it is 2026-12-01T01:30:00Z now; "
        "write a later instant, or a span such as '36h'"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "is empty; write keys and values, such as 'name: hello'"),
        ([], "a list is no mapping; write keys and values, such as 'name: hello'"),
        ("x", "'x' is no mapping; write keys and values, such as 'name: hello'"),
        ({"name": "x", "run": None}, "run: has no value; write one, or leave the line out"),
        (
            {"name": "x", "run": "y", "nodes": float("nan")},
            "nodes: is no number that can be used; write a plain number",
        ),
        ({"name": "x", "run": "y", "nodes": 10**50}, "nodes: is no number that can be used; write a plain number"),
        ({"name": "x", "run": "y", "nodes": 1.5}, "nodes: '1.5' is no whole number; write one from 1 to 4,096"),
        ({"name": "x", "run": "y", 3: 4}, "'3' has a key that is no text; write it as text"),
        ({"name": "x", "run": "a\ud800"}, "run: holds half a character (a lone surrogate); take it out"),
        ({"name": "x", "run": b"y"}, "run: is a bytes, which no file can hold; give text, numbers, lists or mappings"),
        ({"name": "x", "run": "y" * 1_100_000}, "run: is larger than 1 MiB; put large input into a dataset"),
        (
            {"name": "x", "run": "y", "env": {f"A{i}": "x" for i in range(10_001)}},
            "holds more than 10,000 values; split it",
        ),
    ],
)
def test_data_without_a_file(data: object, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        JobSpec.from_data(data)
    assert str(caught.value) == message


def test_data_that_holds_itself() -> None:
    data: dict[str, object] = {"name": "x", "run": "y"}
    data["env"] = data
    with pytest.raises(SpecError, match="nested too deeply"):
        JobSpec.from_data(data)


SITE = """
  - name: {name}
    jurisdiction: JP-40
    latitude: 33.5
    longitude: 130.4
    price_yen_per_kwh: 24
    carbon_g_per_kwh: 380
    flavors: [{{name: standard, count: 2, cpus: 2, memory: 4GiB, idle_w: 70, peak_w: 210}}]"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sites: []\n", "fleet.yaml:1: sites: names no site; list one at least, or name those of `remote`"),
        (
            "sites:" + SITE.format(name="control"),
            "fleet.yaml:2: sites[0].name: 'control' is the name of the control plane; choose another",
        ),
        (
            "remote: [a]\nsites:" + SITE.format(name="a"),
            "fleet.yaml:1: remote[0]: 'a' stands in `sites` too; an agent of this server runs it, or it joins by itself",
        ),
        (
            "sites:" + SITE.format(name="a") * 2,
            "fleet.yaml:9: sites[1].name: 'a' is taken by another; choose another name",
        ),
        (
            "sites:" + SITE.format(name="a") + "\nlinks: [{between: [a, b], bandwidth: 1Gbit/s, latency: 1ms}]\n",
            "fleet.yaml:9: links[0].between[1]: 'b' is no site of this file; sites: a",
        ),
        (
            "sites:" + SITE.format(name="a") + "\nlinks: [{between: [a, a], bandwidth: 1Gbit/s, latency: 1ms}]\n",
            "fleet.yaml:9: links[0].between: a list does not name two sites; write for example '[tokyo, fukuoka]'",
        ),
        (
            "sites:" + SITE.format(name="a").replace("380", "380g"),
            "fleet.yaml:7: sites[0].carbon_g_per_kwh: '380g' is no plain number; "
            "the unit stands in the key's name, so write the number alone: 380",
        ),
        (
            "sites:" + SITE.format(name="a").replace("210", "50"),
            "fleet.yaml:8: sites[0].flavors[0].peak_w: '50' is less than `idle_w`; a node at full load draws more than an idle one",
        ),
        (
            "sites:" + SITE.format(name="a").replace("cpus: 2", "cpus: 2+"),
            "fleet.yaml:8: sites[0].flavors[0].cpus: '2+' is a range, and a node has one number; write that number",
        ),
        (
            "sites:" + SITE.format(name="a") + "\nlease: 2d\n",
            "fleet.yaml:9: lease: '2d' is out of range; write a span from '1s' to '1d'",
        ),
        (
            "sites:" + SITE.format(name="a") + "\n    synthetic: yes\n",
            "fleet.yaml:9: sites[0].synthetic: 'yes' is neither true nor false; write true",
        ),
        (
            "sites:" + SITE.format(name="a") + "\n    engine: k8s\n",
            "fleet.yaml:9: sites[0].engine: 'k8s' is not known here; write 'host' or 'ssh' or 'slurm' or 'ray'",
        ),
        (
            "sites:" + SITE.format(name="a") + "\n    engine: slurm\n",
            "fleet.yaml:9: sites[0].engine: 'slurm' has nothing that says how it is reached; add 'slurm:' with how it is reached",
        ),
        (
            "sites:" + SITE.format(name="a") + "\n    ray: {address: 'http://h:8265'}\n",
            "fleet.yaml:9: sites[0].ray: stands beside 'engine: host'; write 'engine: ray', or take it out",
        ),
        (
            "sites:" + SITE.format(name="a") + "\n    engine: ray\n    ray: {address: 'h:8265'}\n",
            "fleet.yaml:10: sites[0].ray.address: 'h:8265' is no address; write for example 'http://127.0.0.1:6820'",
        ),
        (
            "sites:" + SITE.format(name="a") + "\n    engine: slurm\n    slurm: {rest: 'http://h:1'}\n",
            "fleet.yaml:10: sites[0].slurm.rest: 'http://h:1' can't be used without a token; add `jwt_key:` or `token:`",
        ),
        (
            "sites:" + SITE.format(name="a") + "\n    engine: slurm\n    slurm: {flavors: {big: {}}}\n",
            "fleet.yaml:10: sites[0].slurm.flavors.big: 'big' is no flavor of this site; flavors: standard",
        ),
        (
            "sites:" + SITE.format(name="a") + "\n    engine: slurm\n    slurm: {poll: 1ms}\n",
            "fleet.yaml:10: sites[0].slurm.poll: '1ms' is out of range; write a span from '200ms' to '5m'",
        ),
        (
            "sites:"
            + SITE.format(name="a")
            + "\n    engine: ssh\n    ssh: {hosts: [{name: x, address: h, flavor: standard}]}\n",
            "fleet.yaml:8: sites[0].flavors[0].count: '2' is not the number of its machines; `ssh.hosts` has 1",
        ),
    ],
)
def test_a_mistake_in_a_fleet(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        FleetSpec.from_text(text, "fleet.yaml")
    assert str(caught.value) == message
