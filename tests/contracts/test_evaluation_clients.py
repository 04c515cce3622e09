"""lm-eval (``local-completions``) and litellm, unmodified, against a running service.

They bring more than a gigabyte of packages, so they are tested where they are installed:
``make test-clients``, or set CLIENTS_PYTHON to a Python that has them.
"""

import json
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import tiny_bundle

from model.bundle.load import load_bundle
from model.runtime.litert_runtime import LiteRTRuntime
from model.tokenizers import Tokenizer
from training.evaluate import held_out_text, runtime_nats

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("CLIENTS_PYTHON", str(ROOT / ".venv-clients/bin/python"))
TEXTS = ["One day in 1999 we walked and talked.", "The café was naïve — 日本語 😀"]
CHOICES = [
    {"question": "One day we walked and", "choices": [" talked", " language"], "gold": 0},
    {"question": "I learnt some of the", "choices": [" Italian language", " café"], "gold": 0},
]

pytestmark = [
    pytest.mark.skipif(
        not Path(PYTHON).exists(), reason="not installed; make test-clients installs them"
    ),
    # A gigabyte of packages is long in being imported where the cores are short.
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def found(service, tmp_path_factory):
    """What the clients wrote down."""
    folder = tmp_path_factory.mktemp("clients")
    for name, items in {"rolling": [{"text": text} for text in TEXTS], "choice": CHOICES}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    script = Path(__file__).with_name("evaluation_clients.py")
    ran = subprocess.run(
        [PYTHON, str(script), service.url, str(folder)], capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()[-3000:]
    return json.loads((folder / "results.json").read_text())


def score(service, **fields):
    answer = service.post("/v1/score", fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def test_litellm(service, found):
    fields = {"prompt": "One day", "max_tokens": 12, "seed": 7}
    plain = service.complete(**fields, logprobs=1)
    litellm = found["litellm"]
    assert litellm["text"] == litellm["streamed"] == plain["choices"][0]["text"]
    assert litellm["text_offset"] == plain["choices"][0]["logprobs"]["text_offset"]
    assert litellm["usage"] == plain["usage"]["total_tokens"]
    assert litellm["num_listed"] == 2
    assert "temperature must be from 0 to 2" in litellm["refusal"]


def test_lm_eval_rolling_perplexity_is_our_score(service, found):
    rolling = [sample[0] for sample in found["lm_eval"]["responses"]["local_rolling"]]
    ours = [item["total_logprob"] for item in score(service, input=TEXTS, score_first_token=True)]
    assert rolling == pytest.approx(ours, abs=1e-3)


def test_lm_eval_rolling_perplexity_is_our_own_evaluation(found):
    """The pipeline's, without the service: each text a document, read after the start token."""
    bundle = load_bundle(tiny_bundle())
    runtime = LiteRTRuntime(bundle.network_path, bundle.config)
    tokenizer = Tokenizer.load(bundle.tokenizer_path)
    documents = [[tokenizer.end_of_text_id, *tokenizer.encode(text)] for text in TEXTS]
    texts = [held_out_text(np.array(ids), tokenizer, 0) for ids in documents]
    nats = [runtime_nats(runtime, text) for text in texts]
    rolling = [sample[0] for sample in found["lm_eval"]["responses"]["local_rolling"]]
    assert rolling == pytest.approx([-value for value in nats], abs=1e-3)
    score = texts[0].score(nats[0])
    assert [text.num_bytes for text in texts] == [len(text.encode()) for text in TEXTS]
    assert math.exp(-rolling[0] / score.num_tokens) == pytest.approx(score.perplexity, rel=1e-3)
    per_byte = math.exp(sum(nats) / sum(text.num_bytes for text in texts))
    metrics = found["lm_eval"]["results"]["local_rolling"]
    assert metrics["byte_perplexity,none"] == pytest.approx(per_byte, abs=1e-3)


def test_lm_eval_loglikelihoods_are_our_score(service, found):
    for item, sample in zip(CHOICES, found["lm_eval"]["responses"]["local_choice"], strict=True):
        for choice, (logprob, is_greedy) in zip(item["choices"], sample, strict=True):
            whole, context = (
                service.post("/tokenize", {"prompt": text}).json()["tokens"]
                for text in (item["question"] + choice, item["question"])
            )
            rest = whole[len(context) :]
            (ours,) = score(service, input=[rest], context=[whole[: len(context)]])
            assert logprob == pytest.approx(ours["total_logprob"], abs=1e-3)
            assert is_greedy == ours["is_greedy"]


def test_lm_eval_generates_what_we_generate(service, found):
    for text, sample in zip(TEXTS, found["lm_eval"]["responses"]["local_generation"], strict=True):
        ours = service.complete(prompt=text, max_tokens=6, temperature=0)
        assert sample == [ours["choices"][0]["text"]]
