"""The stage ``evaluate``: how well the network, float and int8, and n-grams predict held-out text.

All score the same tokens of the test text. The networks read it cut into rows, side by side, each
from the zero state; the state is zeroed before each document. So a row's first tokens lack the
context before them: the networks score a trace worse than on the text in one piece, never better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model.bundle.manifest import Score
from model.config import ModelConfig
from model.errors import TrainingError
from model.network.language_model import LanguageModel
from model.runtime.contract import Runtime
from model.scoring import token_logprobs
from model.state import FloatArray, IntArray
from model.tokenizers.tokenizer import Tokenizer
from training.batches import evaluation_rows
from training.token_file import TokenArray
from training.towers import total_loss

#: Tokens of a row that the float network reads at once.
WINDOW = 128


@dataclass(frozen=True, kw_only=True)
class HeldOutText:
    """Test tokens as rows, for every model to be scored on.

    Attributes:
        inputs: [rows, time] int32, what is read.
        targets: [rows, time] int32, what follows.
        mask: [rows, time] bool, False where the last row is filled up.
        token_ids: [tokens + 1], the same text in one piece.
        end_of_text_id: the state is zeroed before this input.
        num_bytes: UTF-8 bytes of the scored targets; an unknown token counts as none.
    """

    inputs: IntArray
    targets: IntArray
    mask: NDArray[np.bool_]
    token_ids: TokenArray
    end_of_text_id: int
    num_bytes: int

    @property
    def num_tokens(self) -> int:
        """Targets that are scored."""
        return int(self.mask.sum())

    def score(self, nats: float) -> Score:
        """The score of a model that spends ``nats`` on all targets together."""
        per_token = nats / self.num_tokens
        return Score(
            nats_per_token=per_token,
            perplexity=math.exp(per_token),
            bits_per_byte=nats / (math.log(2.0) * self.num_bytes),
            num_tokens=self.num_tokens,
            num_bytes=self.num_bytes,
        )


def held_out_text(test_ids: TokenArray, tokenizer: Tokenizer, max_tokens: int) -> HeldOutText:
    """The first ``max_tokens`` (0: all) test tokens, as rows and in one piece.

    Raises:
        TrainingError: there is no test text.
    """
    num_tokens = len(test_ids) - 1
    if max_tokens:
        num_tokens = min(num_tokens, max_tokens)
    if num_tokens < 1:
        raise TrainingError("the corpus has no test text; raise --test-share")
    num_rows = evaluation_rows(num_tokens)
    time = -(-num_tokens // num_rows)
    ids = np.full(num_rows * time + 1, tokenizer.end_of_text_id, np.int32)
    ids[: num_tokens + 1] = test_ids[: num_tokens + 1]
    counts = np.bincount(ids[1 : num_tokens + 1], minlength=tokenizer.vocab_size)
    textless = {*tokenizer.special_ids, tokenizer.unknown_id}
    num_bytes = sum(
        int(count) * len(tokenizer.token_bytes(token_id))
        for token_id, count in enumerate(counts)
        if count and token_id not in textless
    )
    if num_bytes == 0:
        raise TrainingError("the test text holds no known token; raise --test-share")
    shape = (num_rows, time)
    return HeldOutText(
        inputs=ids[:-1].reshape(shape),
        targets=ids[1:].reshape(shape),
        mask=(np.arange(num_rows * time) < num_tokens).reshape(shape),
        token_ids=test_ids[: num_tokens + 1],
        end_of_text_id=tokenizer.end_of_text_id,
        num_bytes=num_bytes,
    )


def network_nats(
    config: ModelConfig, weights: Mapping[str, FloatArray], text: HeldOutText
) -> float:
    """Nats that the float32 network spends on ``text``."""
    network = LanguageModel(config)
    network.assign_weights(weights)
    read = tf.function(total_loss, reduce_retracing=True)
    state = network.initial_state(len(text.inputs))
    nats = 0.0
    for start in range(0, text.inputs.shape[1], WINDOW):
        window = np.s_[:, start : start + WINDOW]
        inputs = text.inputs[window]
        loss, state = read(
            network,
            tf.constant(inputs),
            tf.constant(text.targets[window]),
            state,
            mask=tf.constant(text.mask[window]),
            reset=tf.constant(inputs == text.end_of_text_id),
        )
        nats += float(loss)
    return nats


def runtime_nats(runtime: Runtime, text: HeldOutText) -> float:
    """Nats that an exported network spends on ``text``, one step at a time as in service."""
    state = runtime.initial_state(len(text.inputs))
    nats = 0.0
    for inputs, targets, mask in zip(text.inputs.T, text.targets.T, text.mask.T, strict=True):
        state[inputs == text.end_of_text_id] = 0.0
        logits, state = runtime.step(np.ascontiguousarray(inputs), state)
        nats -= float(token_logprobs(logits, targets)[mask].sum(dtype=np.float64))
    return nats


def quality_loss(float32: Score, int8: Score) -> float:
    """How much worse int8 is, as a share of the float network's bits per byte."""
    return int8.bits_per_byte / float32.bits_per_byte - 1.0
