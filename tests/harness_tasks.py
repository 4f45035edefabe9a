"""Three tasks of `lm_eval` in a folder, with their data beside them."""

import json

DOCUMENTS = [
    {
        "question": f"How much is {a} and {b}?",
        "choices": [str(a + b), f"about {a}", "nobody knows that", f"{b}"],
        "answer": index % 4,
        "reply": f"{a + b}",
        "text": f"The sum of {a} and {b} is {a + b}. " * (1 + 4 * (index % 3)),
    }
    for index, (a, b) in enumerate([(1, 2), (30, 4), (5, 5), (7, 80), (9, 6)])
]
COMMON = """
dataset_path: json
dataset_kwargs:
  data_files:
    train: {data}
    test: {data}
  cache_dir: {folder}/cache
training_split: train
test_split: test
fewshot_split: train
"""
TASKS = {
    "sums_choice": """
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: answer
doc_to_choice: "{{choices}}"
metric_list:
  - metric: acc
  - metric: acc_norm
""",
    "sums_reply": """
output_type: generate_until
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: reply
generation_kwargs:
  until: ["\\n", "Q"]
  max_gen_toks: 12
metric_list:
  - metric: exact_match
""",
    "sums_text": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - metric: word_perplexity
  - metric: byte_perplexity
  - metric: bits_per_byte
""",
}


def write_tasks(folder):
    """Writes the tasks and their data; returns the folder."""
    folder.mkdir()
    data = folder / "sums.jsonl"
    data.write_text("".join(json.dumps(each) + "\n" for each in DOCUMENTS))
    for name, task in TASKS.items():
        head = COMMON.replace("{data}", str(data))
        head = f"task: {name}\n" + head.replace("{folder}", str(folder))
        (folder / f"{name}.yaml").write_text(head + task)
    return folder
