"""Runs lm-eval and litellm against a service; the Python of an environment of their own runs this.

``python evaluation_clients.py URL FOLDER`` writes what they found as JSON to ``results.json`` in
the folder. They bring a gigabyte of packages, and litellm an ``openai`` that conflicts with ours.
"""

import json
import os
import sys
from importlib import import_module  # by name: what is imported outright is in requirements/dev.txt
from pathlib import Path

CHOICE = """
task: local_choice
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/choice.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{gold}}"
target_delimiter: ""
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
ROLLING = """
task: local_rolling
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/rolling.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: byte_perplexity}]
"""
GENERATION = """
task: local_generation
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/rolling.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{text}}"
doc_to_target: "{{text}}"
generation_kwargs:
  until: ["!!!!", "????", "\\n\\n\\n", "####", "@@@@"]
  max_gen_toks: 6
  temperature: 0
metric_list: [{metric: exact_match}]
"""
TASKS = {"local_choice": CHOICE, "local_rolling": ROLLING, "local_generation": GENERATION}


def evaluate(url: str, folder: Path) -> dict:
    """What lm-eval measures and asked, by task."""
    simple_evaluate = import_module("lm_eval").simple_evaluate
    task_manager = import_module("lm_eval.tasks").TaskManager
    for name, task in TASKS.items():
        (folder / f"{name}.yaml").write_text(task.replace("FOLDER", str(folder)))
    found = simple_evaluate(
        model="local-completions",
        model_args={"model": "bpe", "base_url": f"{url}/v1/completions", "num_concurrent": 2},
        tasks=list(TASKS),
        task_manager=task_manager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
    )
    return {
        "results": found["results"],
        "responses": {
            name: [sample["filtered_resps"] for sample in samples]
            for name, samples in found["samples"].items()
        },
    }


def complete(url: str) -> dict:
    """What litellm makes of completions, plain and streamed."""
    litellm = import_module("litellm")
    fields = {
        "model": "text-completion-openai/bpe",
        "api_base": f"{url}/v1",
        "api_key": "none",
        "prompt": "One day",
        "max_tokens": 12,
        "seed": 7,
        "temperature": 1.0,
    }
    plain = litellm.text_completion(**fields, logprobs=1)
    stream = litellm.text_completion(**fields, stream=True, stream_options={"include_usage": True})
    parts = [chunk.choices[0].text or "" for chunk in stream if chunk.choices]
    listed = litellm.text_completion(**fields | {"prompt": [[5, 6], [7]]})
    try:
        litellm.text_completion(**fields | {"temperature": 3})
        refusal = "none"
    except litellm.BadRequestError as error:
        refusal = str(error)
    return {
        "text": plain.choices[0].text,
        "text_offset": plain.choices[0].logprobs.text_offset,
        "usage": dict(plain.usage)["total_tokens"],
        "streamed": "".join(parts),
        "num_listed": len(listed.choices),
        "refusal": refusal,
    }


def main() -> None:
    """Runs both clients."""
    url, folder = sys.argv[1], Path(sys.argv[2])
    os.environ |= {"HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    os.environ |= {"HF_DATASETS_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    found = {"litellm": complete(url), "lm_eval": evaluate(url, folder)}
    (folder / "results.json").write_text(json.dumps(found, default=str))


if __name__ == "__main__":
    main()
