"""What the scripts say where something is missing."""

import os
import shutil
import subprocess
from pathlib import Path

SETUP = Path(__file__).parents[1] / "scripts" / "setup"
# Like a Debian python3 without python3-venv.
PYTHON = """#!/bin/sh
case "$1" in
  -m) mkdir -p .venv/bin; touch .venv/bin/python; exit 1 ;;
esac
"""


def test_a_python_without_venv_is_named(tmp_path):
    for folder in ("scripts", "bin"):
        (tmp_path / folder).mkdir()
    shutil.copy(SETUP, tmp_path / "scripts")
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    python = tmp_path / "bin" / "python3"
    python.write_text(PYTHON, encoding="utf-8")
    python.chmod(0o755)
    result = subprocess.run(
        ["scripts/setup"],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "python3-venv" in result.stderr
    assert not (tmp_path / ".venv").exists()
