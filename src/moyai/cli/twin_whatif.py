"""`moyai twin replay --log`: a real log, decided anew under a what-if, beside how it really went."""

from pathlib import Path

from moyai.cli.twin import bar, interruptible, show, trouble
from moyai.locale import t

Changes = tuple[list[Path], list[str], list[str]]
"""Files of sites to add, names of sites to leave out, values to set."""


def whatif(log: Path, policy: str, seed: int, changes: Changes, out: Path | None, *, as_json: bool) -> None:
    """Show the recorded figures, those of a replay with nothing changed, and those of the what-if."""
    from dataclasses import replace

    from moyai.client import MoyaiError
    from moyai.twin.compare.task import Run, Task, kept, run_setup
    from moyai.twin.policies import NAMES, UnknownPolicy
    from moyai.twin.report.results import results
    from moyai.twin.whatif.alter import BadChange, add_sites, set_value, without_site
    from moyai.twin.whatif.reading import NoLog, records
    from moyai.twin.whatif.recorded import recorded, told
    from moyai.twin.whatif.remade import remade

    runs: list[Run] = []
    added, left_out, values = changes
    interruptible()
    try:
        with trouble():
            if policy not in NAMES:
                raise UnknownPolicy(policy)
            found = told(records(log))
            plain = remade(found, log.name or str(log))
            if not plain.arrivals:
                raise NoLog(f"{log}: holds no jobs; there is nothing to replay")
            changed = plain
            for path in added:
                changed = add_sites(changed, path)
            for name in left_out:
                changed = without_site(changed, name)
            for text in values:
                changed = set_value(changed, text)
            changed = replace(changed, notes=(*changed.notes, t("twin.replayed-note")))
            asked = [("moyai", plain, t("twin.replayed"))]
            if policy != "moyai" or changes != ([], [], []):
                asked.append((policy, changed, t("twin.what-if", policy=policy)))
            labels = [t("twin.recorded"), *(label for _, _, label in asked)]
            with results(out, plain.name, changed.notes, labels, runs) as add, bar(plain.name) as tell:
                add(kept(Task(labels[0], "exact", 0), recorded(found, plain, records(log))))
                for number, (name, made, label) in enumerate(asked):
                    outcome = run_setup(
                        made, name, seed, lambda share, number=number: tell((number + share) / len(asked))
                    )
                    add(kept(Task(label, "exact", seed), outcome))
    except NoLog as error:
        raise MoyaiError("log", str(error), where="--log") from None
    except BadChange as error:
        raise MoyaiError("bad-input", str(error), where=error.option) from None
    show(plain.name, runs, changed.notes, out, as_json=as_json)
