"""The recorded answer of a bundle: made when it is written, compared whenever it is loaded.

Checksums show that the bytes are the same; this shows that the runtime at hand computes from them
what was computed when the bundle was made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.bundle.manifest import SelfCheck
from model.errors import SelfCheckError
from model.runtime.contract import Runtime
from model.state import FloatArray

#: Logits recorded; a vocabulary no larger than this is recorded whole.
NUM_RECORDED = 16

#: How far a logit may lie from the recorded one. Processors round differently inside an int8
#: network; a wrong network is off by whole units.
TOLERANCE = 0.1


def make_self_check(
    runtime: Runtime, prompt_token_ids: Sequence[int], *, tolerance: float = TOLERANCE
) -> SelfCheck:
    """Records the logits of the ``NUM_RECORDED`` likeliest tokens after ``prompt_token_ids``.

    Raises:
        SelfCheckError: the runtime answers with numbers that are not finite.
    """
    logits = _answer(runtime, prompt_token_ids)
    token_ids = np.argsort(-logits, kind="stable")[:NUM_RECORDED]
    return SelfCheck(
        prompt_token_ids=tuple(prompt_token_ids),
        token_ids=tuple(token_ids.tolist()),
        logits=tuple(logits[token_ids].tolist()),
        tolerance=tolerance,
    )


def run_self_check(runtime: Runtime, record: SelfCheck) -> float:
    """Compares the runtime's answer with the recorded one; returns the largest difference.

    Raises:
        SelfCheckError: a logit differs by more than ``record.tolerance`` or is not finite.
    """
    logits = _answer(runtime, record.prompt_token_ids)
    differences = np.abs(logits[list(record.token_ids)] - np.asarray(record.logits, np.float32))
    worst = int(np.argmax(differences))
    if differences[worst] > record.tolerance:
        token_id = record.token_ids[worst]
        raise SelfCheckError(
            f"the network answers otherwise than when the bundle was made: the logit of token "
            f"{token_id} is {logits[token_id]:.4f}, recorded {record.logits[worst]:.4f}, "
            f"tolerance {record.tolerance:g}. Publish the bundle again on this kind of machine."
        )
    return float(differences[worst])


def _answer(runtime: Runtime, prompt_token_ids: Sequence[int]) -> FloatArray:
    """Logits [vocab] after the prompt, by ``prefill`` and one ``step``."""
    prompt = np.asarray([prompt_token_ids], np.int32)
    state = runtime.prefill(prompt[:, :-1], runtime.initial_state(1))
    logits, _ = runtime.step(prompt[:, -1], state)
    if logits.shape != (1, runtime.config.vocab_size):
        raise SelfCheckError(
            f"the network answers with logits of shape {logits.shape}; "
            f"expected (1, {runtime.config.vocab_size})"
        )
    if not np.isfinite(logits).all():
        raise SelfCheckError("the network answers with logits that are not finite")
    row: FloatArray = logits[0]
    return row
