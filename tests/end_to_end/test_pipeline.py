"""From a text file to a bundle that answers, by the command a user types."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from model.bundle.load import load_bundle
from model.runtime.litert_runtime import LiteRTRuntime
from model.tokenizers import Tokenizer

PROJECT = Path(__file__).parents[2]
SENTENCE = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. "


def training(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            *(sys.executable, "-m", "training", *arguments),
            *("--runs", str(folder / "runs"), "--bundles", str(folder / "bundles")),
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )


def test_text_in_bundle_out_and_the_bundle_knows_the_text(tmp_path):
    with (tmp_path / "text.jsonl").open("w") as file:
        for number in range(200):
            file.write(json.dumps({"body": f"{number}. {SENTENCE * 5}"}) + "\n")
    done = training(
        tmp_path,
        *("run", "--corpus", str(tmp_path / "text.jsonl"), "--field", "body", "--name", "fox"),
        *("--tokenizer", "char", "--steps", "250", "--cell", "gru", "--hidden-size", "64"),
        *("--batch-size", "8", "--window", "32", "--learning-rate", "0.01"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("published ")
    assert "Traceback" not in done.stderr
    bundle = load_bundle(tmp_path / "bundles" / "fox")
    assert bundle.manifest.scores.int8.bits_per_byte < 1.0
    tokenizer = Tokenizer.load(bundle.tokenizer_path)
    runtime = LiteRTRuntime(bundle.network_path, bundle.config)
    prompt = [tokenizer.end_of_text_id, *tokenizer.encode(f"7. {SENTENCE}The quick brown f")]
    ids = np.array([prompt], np.int32)
    state = runtime.prefill(ids[:, :-1], runtime.initial_state(1))
    written, token_ids = "", ids[:, -1]
    for _ in range(15):
        logits, state = runtime.step(token_ids, state)
        token_ids = logits.argmax(axis=1).astype(np.int32)
        written += tokenizer.decode(token_ids.tolist())
    assert written == "ox jumps over t"
