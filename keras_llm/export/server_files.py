"""What a server is started with, and asked: files beside the versions."""

import json
import shlex
from pathlib import Path
from urllib.parse import quote

from keras_llm.files import write_text

README_NAME = "README.txt"

# Rows of several requests are decoded together: a batch of 16 takes a few
# times as long as one row. A lone request waits for others for two ms.
MOST_ROWS = 16
# Of a text that is scored, unless the export says otherwise: a batch of
# `MOST_ROWS` such texts must be done before REST gives up, after 30 s.
MAX_TEXT_TOKENS = 1024
BATCHING = f"""\
max_batch_size {{ value: {MOST_ROWS} }}
batch_timeout_micros {{ value: 2000 }}
max_enqueued_batches {{ value: 1000 }}
num_batch_threads {{ value: 2 }}"""

METRICS = "/monitoring/prometheus/metrics"
MONITORING = f"""\
prometheus_config {{ enable: true path: "{METRICS}" }}"""

SETTINGS = {
    "max_new_tokens": 64,
    "temperature": 0.8,
    "top_k": 0,
    "top_p": 0.95,
    "repetition_penalty": 1.0,
    "seed": 1,
}
# Of signatures with more than one input.
TEXT = "Once upon a time"
FILLED = "Once upon a [MASK]"
REQUESTS = {
    "generate": {"prompt": TEXT} | SETTINGS,
    "chat": {"turns": ["Good morning!"]} | SETTINGS,
}


def write_server_files(
    path: Path,
    signatures: list[str],
    servers: str,
    without_chat: str | None = None,
) -> None:
    """Writes configuration of TensorFlow Serving, and how to start it.

    Args:
        path: Folder of the versions; its name is the model's.
        signatures: Names of the signatures to show requests for.
        servers: Which ones load the newest version.
        without_chat: Why there is no signature `chat`, where one could be.
    """
    path = Path(path).absolute()
    name = json.dumps(path.name)
    base = json.dumps(f"/models/{path.name}")
    models = (
        f"model_config_list {{\n  config {{ name: {name} base_path: {base} "
        'model_platform: "tensorflow" }\n}'
    )
    write_text(path / "models.config", models)
    write_text(path / "batching_parameters.txt", BATCHING)
    write_text(path / "monitoring.config", MONITORING)
    page = _readme(path, signatures, servers)
    if without_chat is not None:
        page += f"\n\nNo signature chat. {without_chat}"
    write_text(path / README_NAME, page)


def serve_command(path: Path) -> str:
    """The `docker run` line that serves the newest version."""
    path = Path(path).absolute()
    inside = f"/models/{path.name}"
    return " ".join(
        [
            # It asks for no key: other machines do not reach it.
            "docker run --rm",
            "-p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501",
            "--mount",
            shlex.quote(f"type=bind,source={path},target={inside},readonly"),
            "tensorflow/serving",
            shlex.quote(f"--model_config_file={inside}/models.config"),
            "--enable_batching",
            shlex.quote(
                f"--batching_parameters_file={inside}/batching_parameters.txt"
            ),
            shlex.quote(f"--monitoring_config_file={inside}/monitoring.config"),
        ]
    )


def ask_command(
    path: Path, signature: str = "serving_default", text: str = TEXT
) -> str:
    """A `curl` line that a served model answers, in the row form of REST."""
    request: dict = {"instances": [text]}
    if signature in REQUESTS:
        instances = [REQUESTS[signature]]
        request = {"signature_name": signature, "instances": instances}
    elif signature != "serving_default":
        request = {"signature_name": signature} | request
    name = quote(Path(path).absolute().name)
    url = f"http://localhost:8501/v1/models/{name}:predict"
    return f"curl -s {url} -d {shlex.quote(json.dumps(request))}"


def _readme(path: Path, signatures: list[str], servers: str) -> str:
    text = FILLED if "fill" in signatures else TEXT
    asks = "\n".join(ask_command(path, name, text) for name in signatures)
    return (
        "Serve the newest version here (gRPC on 8500, REST on 8501). It "
        f"needs {servers}:\n\n"
        f"{serve_command(path)}\n\n"
        "Without Docker, where tensorflow_model_server is installed:\n\n"
        "tensorflow_model_server --port=8500 --rest_api_port=8501 "
        f"--model_name={shlex.quote(path.name)} "
        f"--model_base_path={shlex.quote(str(path))}\n\n"
        f"Ask it:\n\n{asks}\n\n"
        f"With batching a request has at most {MOST_ROWS} rows "
        "(max_batch_size in batching_parameters.txt).\n"
        f"Metrics, where monitoring.config is read: {METRICS}"
    )
