"""Kills a command at everything that it does to files, and runs it again.

    python kill_walk.py FOLDER tokens|redo|model STEP

One operation after the other, each in a forked process of its own: all that
is asked for with step 1, else every so many, and those around the renames
that put a stage's folder or the run's record in place. Prints, as JSON, how
many there were, how many kills, and what was other than in a run that was
left alone.
"""

import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tiny_corpus import sample_text
from tiny_run import QUIET, RECIPE, changed, files_of

from keras_llm import workflow
from keras_llm.recipes.corpus_settings import ExecutionSettings
from keras_llm.run_folder import Run
from keras_llm.workflow.pretraining import make_tokens

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate")
BYTES = 10  # of a file that is cut off
# They tell times, and are compared without; or pictures of what is compared.
TOLD = (
    "timings.json",
    "report.html",
    "stages.json",
    "log.csv",
    "curves.png",
    "metadata.json",
)


@dataclass
class Kill:
    """Where a process is killed, and with what of the operation done.

    Args:
        number: Of the operation.
        how: `"before"` it; with a file that is `"created"`, and empty; or in
            a file that is `"cut"`, by the limit on the size of files.
    """

    number: int
    how: str

    def die(self, event: str, arguments: tuple) -> None:
        if self.how == "cut":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (BYTES, BYTES))
            return
        if self.how == "created":
            with suppress(OSError):
                os.open(arguments[0], arguments[2])
        os.kill(os.getpid(), signal.SIGKILL)


def is_change(event: str, arguments: tuple) -> bool:
    """Whether an audit event is that of an operation that changes our files."""
    path = str(arguments[0]) if arguments else ""
    # `shutil.rmtree` names what is in an open folder by its name alone.
    if path.startswith("/") and not path.startswith(os.environ["TMPDIR"]):
        return False
    if event != "open":
        return event in CHANGES
    return isinstance(arguments[0], str) and bool(arguments[2] & WRITES)


def forked(work: Callable[[], None]) -> int:
    """Does work in a process of its own; returns how that ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def killed(work: Callable[[], None], kill: Kill) -> int:
    """Does work that is killed at one of its operations."""

    def begin() -> None:
        numbers = iter(range(1_000_000))

        def hook(event: str, arguments: tuple) -> None:
            if is_change(event, arguments) and next(numbers) == kill.number:
                kill.die(event, arguments)

        sys.addaudithook(hook)
        work()

    return forked(begin)


def operations(work: Callable[[], None], path: Path) -> list[list]:
    """All operations of work that is left alone, as audit events."""

    def begin() -> None:
        with path.open("w") as file:

            def hook(event: str, arguments: tuple) -> None:
                if is_change(event, arguments):
                    shown = [event, *map(str, arguments)]
                    file.write(json.dumps(shown) + "\n")

            sys.addaudithook(hook)
            work()
            file.flush()

    assert forked(begin) == 0
    return [json.loads(line) for line in path.read_text().splitlines()]


def kills(found: list[list], out: Path, step: int) -> Iterator[Kill]:
    """Which of the operations are tried."""
    chosen = set(range(0, len(found), step))
    for number, (event, *arguments) in enumerate(found):
        if event == "os.rename" and "partial" not in Path(arguments[1]).name:
            place = Path(arguments[1]).parent
            if step == 1 or (place == out and not _is_record(arguments[1])):
                chosen |= {number, number + 1}
    for number in sorted(chosen & set(range(len(found)))):
        yield Kill(number, "before")
        if found[number][0] == "open":
            yield Kill(number, "created")
            yield Kill(number, "cut")


def _is_record(path: str) -> bool:
    """Files of the run that are written again and again."""
    return Path(path).name in ("stages.json", "recipe.yaml")


def result(run: Path) -> dict:
    """All that two runs of one recipe have alike."""
    found = files_of(run)
    found = {k: v for k, v in found.items() if Path(k).name not in TOLD}
    report = json.loads(found["tokenizer/report.json"])
    found["tokenizer/report.json"] = report | {"seconds": None}
    records = json.loads((run / "stages.json").read_text())
    for record in records.values():
        record["report"].pop("seconds", None)
        record.pop("input")  # digests of reports, and with them of seconds
    found["stages.json"] = records
    if (run / "training").is_dir():
        rows = (run / "training" / "log.csv").read_text().splitlines()
        found["log.csv"] = [row.split(",")[:-2] for row in rows]
    for name in found:
        if name.endswith("/checkpoint.json"):
            found[name] = json.loads(found[name])
            found[name]["state"]["clock"].pop("seconds")
            found[name].pop("checksum")
    everything = [run, *run.parent.iterdir(), *run.rglob("*")]
    hidden = [str(p) for p in everything if p.name.startswith(".")]
    return found | {"hidden": hidden}


def walk(folder: Path, work: Callable, start: Path | None, step: int) -> dict:
    """Kills `work(run)` and does it again, for each of its operations.

    Args:
        folder: Where runs are made.
        work: What is done with the path of a run.
        start: A run that it starts from, if any.
        step: Every so many operations are tried.
    """

    def fresh(name: str) -> Path:
        (folder / name).mkdir()
        if start is not None:
            shutil.copytree(start, folder / name / "run")
        return folder / name / "run"

    whole = fresh("whole")
    found = operations(partial(work, whole), folder / "operations")
    expected, count, problems = result(whole), 0, []
    for kill in kills(found, whole, step):
        out = fresh("again")
        ended = killed(partial(work, out), kill)
        count += os.WIFSIGNALED(ended)
        left = sorted(str(path) for path in out.parent.rglob("*"))
        if forked(partial(work, out)) != 0:
            problems.append([found[kill.number], kill.how, "failed", left])
        elif (received := result(out)) != expected:
            names = [
                name
                for name in expected | received
                if expected.get(name) != received.get(name)
            ]
            problems.append([found[kill.number], kill.how, names])
        shutil.rmtree(out.parent)
    return {"operations": len(found), "kills": count, "problems": problems}


def main(folder: Path, what: str, step: int) -> dict:
    """What the command line asks for."""
    source = folder / "text"
    source.mkdir()
    for number in range(3):
        text = sample_text(60, number)
        (source / f"{number}.txt").write_text(text, encoding="utf-8")
    os.environ["TMPDIR"] = str(folder)
    one = ExecutionSettings(workers=1)

    def tokens(out: Path, recipe=RECIPE, redo: str | None = None) -> None:
        with Run(out, QUIET).opened(recipe, redo) as run:
            make_tokens(run, [str(source)], recipe, one)

    def train(out: Path) -> None:
        workflow.train(str(source), RECIPE, out, console=QUIET, execution=one)

    done = folder / "done"
    tokens(done)  # in this process, so that all is imported
    if what == "redo":
        other = changed("corpus.split.validation", 0.2)
        again = partial(tokens, recipe=other, redo="prepare")
        return walk(folder, again, done, step)
    if what == "model":
        import keras_hub  # noqa: F401  # seconds, once for all that is forked

        return walk(folder, train, done, step)
    return walk(folder, tokens, None, step)


if __name__ == "__main__":
    os.umask(0o022)
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
