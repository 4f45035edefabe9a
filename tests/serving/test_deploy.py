"""The files to deploy the server with fit each other and the command line."""

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from keras_llm.cli import _parse
from keras_llm.export.server_files import serve_command

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "scripts" / "deploy"


def instructions():
    """The Dockerfile's, in order, as pairs of a word and the rest."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [line.split(maxsplit=1) for line in lines if line.strip()]


def of_kind(kind):
    return [rest for word, rest in instructions() if word == kind]


def entry_point():
    return yaml.safe_load(of_kind("ENTRYPOINT")[0])


def parsed(words):
    """What our command line makes of a command."""
    assert words[0].endswith("keras-llm")
    name, values = _parse(words[1:])
    assert name == "serve"
    return values


def test_the_image_has_what_is_copied_and_listens_where_it_says():
    for line in of_kind("COPY"):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources)
    values = parsed([*entry_point(), "model"])
    assert of_kind("EXPOSE") == [str(values.port)]
    assert f":{values.port}/readyz" in of_kind("HEALTHCHECK")[0]
    assert str(values.feedback.parent) in of_kind("VOLUME")
    assert of_kind("USER") == ["server"]


def test_constraints_of_the_image_are_what_pip_takes():
    # pip: "Constraints cannot have extras."
    [line] = [line for line in of_kind("RUN") if "constraint" in line]
    script, file = re.search(r"sed '(.*)' (\S+) >", line).groups()
    found = subprocess.run(
        ["sed", script, ROOT / file], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    lines = [line for line in found if line and not line.startswith("#")]
    assert len(lines) > 20
    assert all(not Requirement(line).extras for line in lines)


def test_the_server_stands_before_a_stock_tensorflow_serving():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    serving, server = services["serving"], services["server"]
    # As the export's own command has it.
    flags = re.findall(r"--\w+(?:=\S+)?", serve_command(Path("mine")))
    own = {flag for flag in flags if "model" in flag or "batch" in flag}
    assert own and own <= {*serving["command"]}
    values = parsed([*entry_point(), *server["command"]])
    name, _, address = values.model.partition("=")
    host, path = address.removeprefix("tensorflow-serving://").split("/")
    assert path == name == "mine"
    assert host.split(":")[0] in services
    assert host.split(":")[1] in serving["expose"]
    assert server["ports"] == [f"127.0.0.1:{values.port}:{values.port}"]
    build = server["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
    [mount] = server["volumes"]
    assert mount.split(":")[1] == str(values.feedback.parent)


def test_the_unit_runs_the_command():
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str
    unit.read(DEPLOY / "keras-llm.service")
    service = unit["Service"]
    values = parsed(shlex.split(service["ExecStart"]))
    state = Path("/var/lib") / service["StateDirectory"]
    assert values.feedback.parent == state == Path(values.model).parent
    assert service["KillSignal"] == "SIGTERM"
    assert values.host == "127.0.0.1"


def has_compose():
    if shutil.which("docker") is None:
        return False
    line = ["docker", "compose", "version"]
    return subprocess.run(line, capture_output=True).returncode == 0


@pytest.mark.skipif(not has_compose(), reason="needs Docker with Compose")
def test_docker_reads_the_compose_file(monkeypatch):
    monkeypatch.setenv("KERAS_LLM_KEY", "secret")
    line = ["docker", "compose", "-f", str(DEPLOY / "compose.yaml"), "config"]
    found = subprocess.run(line, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
