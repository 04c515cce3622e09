"""Work on a token tree run in this process, on any runtime; and how likely tokens are, plainly."""

import numpy as np

from model.scoring import log_softmax
from service.engine.token_tree import TokenTree

END = 0


def run_piece(runtime, piece):
    if piece.kind == "logits":
        return runtime.logits(piece.states), None
    if piece.kind == "read":
        return None, runtime.prefill(piece.token_ids[:, None], piece.states)
    return runtime.step(piece.token_ids, piece.states)


def grow(tree, runtime, growth, max_rows=64):
    """One growth from beginning to end; its answer."""
    tree.grow(growth)
    while (piece := tree.take(max_rows)) is not None:
        assert 0 < len(piece.nodes) <= max_rows
        tree.put(piece, *run_piece(runtime, piece))
    return tree.grown("job")[0]


def state_after(runtime, token_ids):
    """The state [state_size] after a document's start and ``token_ids``."""
    state = runtime.initial_state(1)
    for token_id in (END, *token_ids):
        if token_id == END:
            state = runtime.initial_state(1)
        _, state = runtime.step(np.array([token_id], np.int32), state)
    return state[0]


def run_work(work, runtime, prompt=(), max_rows=64):
    """What ``work``, a generator, ends with on the tree behind ``prompt``."""
    tree = TokenTree(state_after(runtime, prompt), runtime.config, END)
    try:
        growth = next(work)
        while True:
            growth = work.send(grow(tree, runtime, growth, max_rows))
    except StopIteration as stop:
        return stop.value


def next_logprobs(runtime, token_ids, temperature=1.0):
    """Logprobs [vocab] of what follows ``token_ids``, one token at a time from the start."""
    logits = runtime.logits(state_after(runtime, token_ids)[None])
    return log_softmax(logits / np.float32(temperature))[0]


def logprob(runtime, token_ids, before=()):
    """Of ``token_ids`` in a row, behind ``before``."""
    total = 0.0
    for index, token_id in enumerate(token_ids):
        total += float(next_logprobs(runtime, (*before, *token_ids[:index]))[token_id])
    return total
