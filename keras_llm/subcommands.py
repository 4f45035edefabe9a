"""The subcommands of `keras-llm`: arguments, options, and what they call."""

from pathlib import Path

from keras_llm import commands
from keras_llm.commands import evaluation, serving, tuning
from keras_llm.commands.command import CLEANING, OUT, PRESET, SOURCE, Command
from keras_llm.run_folder import PRETRAINING

# As `keras_llm.pytorch.sides` knows them, without the import of NumPy.
SIDES = (
    "torch",
    "torch-compile",
    "keras-tensorflow",
    "keras-tensorflow-xla",
    "keras-jax",
    "keras-torch",
)
COMMANDS = {
    "train": Command(
        commands.train,
        "All stages, from raw text to an evaluated preset.",
        [("source", list[str], SOURCE)],
        {
            **OUT,
            **CLEANING,
            "--redo": {
                "choices": PRETRAINING,
                "help": "A stage to do again; those after it follow "
                "where it comes out differently.",
            },
        },
        ["corpus", "tokenizer", "model", "training", "generation"],
        has_tasks=True,
    ),
    "prepare": Command(
        commands.prepare,
        "Raw text to clean, split documents, with a report.",
        [("source", list[str], SOURCE + " - is standard input.")],
        {**OUT, **CLEANING},
        ["corpus"],
        needs_keras=False,
        has_tasks=True,
    ),
    "tokenizer": Command(
        commands.tokenizer,
        "Documents to a SentencePiece tokenizer.",
        [("corpus", Path, "Folder that `prepare` wrote.")],
        OUT,
        ["tokenizer"],
    ),
    "encode": Command(
        commands.encode,
        "Documents to token shards.",
        [
            ("corpus", Path, "Folder that `prepare` wrote."),
            ("tokenizer", Path, "Folder that `tokenizer` wrote, or a .model."),
        ],
        OUT,
        has_tasks=True,
    ),
    "pretrain": Command(
        commands.pretrain,
        "Token shards to a trained preset.",
        [
            ("tokens", Path, "Folder that `encode` wrote."),
            ("tokenizer", Path, "The tokenizer it was encoded with."),
        ],
        {
            **OUT,
            "--redo": {
                "choices": ["pretrain"],
                "help": "Train again from the beginning.",
            },
        },
        ["model", "training", "generation"],
    ),
    **tuning.COMMANDS,
    **serving.COMMANDS,
    "evaluate": Command(
        evaluation.evaluate,
        "Loss, perplexity, bits per byte and accuracy of a preset; or its "
        "score in tasks of lm_eval; or how close its answers are to given "
        "ones.",
        [
            ("preset", Path, "A preset, or the run that has one."),
            ("tokens", Path | None, "Folder that `encode` wrote."),
        ],
        evaluation.EVALUATE_OPTIONS,
    ),
    "ask": Command(
        evaluation.ask,
        "Asks a preset a question, after examples or none.",
        [
            ("preset", Path, "A preset, or the run that has one."),
            ("question", str, "The question."),
        ],
        evaluation.ASK_OPTIONS,
    ),
    "generate": Command(
        commands.generate,
        "Continues prompts with a preset, or with a SavedModel as exported.",
        [("preset", Path, "A preset, a run that has one, or a SavedModel.")],
        {
            "--prompt": {
                "nargs": "+",
                "default": [""],
                "help": "One or several texts to continue.",
            }
        },
        ["generation"],
    ),
    "chat": Command(
        commands.chat,
        "Talks with a preset, or with a server (http://…): in the terminal, or "
        "one message a line through a pipe.",
        [("preset", str, PRESET)],
        {
            "--system": {
                "help": "What the assistant is told before the conversation."
            },
            "--template": {
                "metavar": "FILE",
                "help": "A Jinja chat template, for a preset without one; or "
                "plain: turns of ordinary text, for a model tuned on these.",
            },
        },
        ["generation"],
    ),
    "export": Command(
        commands.export,
        "A preset to a SavedModel that answers text with text, or to another "
        "format.",
        [
            ("preset", str, PRESET),
            ("out", Path, "Folder of the model, e.g. saved_models/NAME."),
        ],
        {
            "--format": {
                "choices": [
                    "saved_model",
                    "huggingface",
                    "litert",
                    "onnx",
                    "openvino",
                    "pytorch",
                ],
                "default": "saved_model",
                "help": "saved_model: for TensorFlow Serving, with tokenizer "
                "and decoding inside. huggingface: a folder that transformers "
                "loads. pytorch: code and weights for torch. The others: one "
                "step of decoding of a model of ours, tokens and cache in, "
                "logits and cache out.",
            },
            "--labels": {
                "nargs": "+",
                "metavar": "NAME",
                "help": "Names of a classifier's classes, in their order; "
                "their numbers if omitted.",
            },
            "--allow_control_tokens": {
                "action": "store_true",
                "help": "Take <|user|> and the like in prompts as what they "
                "say, not as plain text.",
            },
            "--template": {
                "metavar": "FILE",
                "help": "A Jinja chat template for the signature chat, for a "
                "preset without one; or plain, as for `keras-llm chat`.",
            },
            "--system": {
                "metavar": "TEXT",
                "help": "What the assistant is told before every conversation "
                "with the signature chat.",
            },
            "--max_text_tokens": {
                "type": int | None,
                "metavar": "N",
                "help": "Most tokens of a text that the signatures score and "
                "tokenize look at; 1,024 if omitted.",
            },
        },
        ["generation"],
    ),
    "import": Command(
        commands.import_model,
        "A GPT-2 or Llama of Hugging Face, or a model of llama2.c, to a "
        "preset.",
        [
            (
                "source",
                Path,
                "A folder with config.json, safetensors and a tokenizer; or, "
                "with --tokenizer, a .bin of llama2.c.",
            )
        ],
        {
            "--out": OUT["--out"] | {"help": "Preset to write."},
            "--tokenizer": {
                "type": Path | None,
                "metavar": "FILE",
                "help": "The tokenizer.bin of a model of llama2.c.",
            },
        },
    ),
    "compare-pytorch": Command(
        commands.compare_pytorch,
        "A certificate that a model computes what its twin in PyTorch does.",
        [
            (
                "preset_or_recipe",
                str,
                "A preset, the run that has one, a recipe's name or a YAML "
                "file. A recipe gives a new model.",
            )
        ],
        {
            **OUT,
            "--tokens": {
                "type": Path,
                "metavar": "DIR",
                "help": "Folder that `encode` wrote; the run's if omitted, or "
                "a chain of tokens drawn by chance.",
            },
            "--steps": {
                "type": int,
                "default": 100,
                "help": "Optimizer steps of each training.",
            },
            "--batch_size": {
                "type": int | None,
                "help": "Rows a batch; the recipe's if omitted.",
            },
            "--sequence_length": {
                "type": int | None,
                "help": "Tokens a row; the model's context if omitted.",
            },
            "--rounds": {
                "type": int,
                "default": 5,
                "help": "Rounds of each measurement of speed; 0 leaves speed "
                "and memory out.",
            },
            "--seconds": {
                "type": float,
                "default": 2.0,
                "help": "Of a round, at least.",
            },
            "--sides": {
                "nargs": "+",
                "choices": SIDES,
                "help": "Whose speed is measured; all if omitted.",
            },
            "--seed": {
                "type": int,
                "default": 0,
                "help": "Decides new weights and the order of the batches.",
            },
        },
    ),
    "inspect": Command(
        commands.inspect,
        "Explains a corpus, tokenizer, tokens, run, preset or SavedModel.",
        [("path", Path, "What to explain.")],
    ),
    "recipes": Command(
        commands.recipes,
        "Lists the recipes, with parameter count and expected time.",
        needs_keras=False,
    ),
}
