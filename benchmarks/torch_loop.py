"""The model, an LSTM, from PyTorch's own cells, and the usual way to generate with it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from model.config import ModelConfig
from model.state import FloatArray

#: PyTorch is measured where it happens to be installed; nothing here depends on it.
torch = importlib.import_module("torch")

Tensor: TypeAlias = Any
States = list[Any]


class TorchLoop:
    """Draws ``num_tokens`` tokens for each row, from the whole distribution at temperature 1."""

    def __init__(
        self, config: ModelConfig, weights: Mapping[str, FloatArray], num_tokens: int
    ) -> None:
        torch.set_grad_enabled(False)
        self._num_tokens = num_tokens
        self._cells = [_cell(config, weights, layer) for layer in range(config.num_layers)]
        self._embedding = _tensor(weights["embedding"])
        self._projection = _tensor(weights["projection/kernel"]) if config.has_projection else None
        kernel = weights["embedding"].T if config.tie_embeddings else weights["output/kernel"]
        self._output = _tensor(kernel)
        self._bias = _tensor(weights["output/bias"])

    def generate(self, num_rows: int) -> FloatArray:
        """Eager, a step at a time."""
        token_ids = torch.zeros(num_rows, dtype=torch.long)
        states: States = [None] * len(self._cells)
        drawn = []
        for _ in range(self._num_tokens):
            logits, states = self._network(token_ids, states)
            token_ids = torch.multinomial(torch.softmax(logits, -1), 1)[:, 0]
            drawn.append(token_ids)
        return np.stack([ids.numpy() for ids in drawn])

    def logits(self, token_ids: Sequence[int]) -> FloatArray:
        """[tokens, vocab], after each of ``token_ids``."""
        states: States = [None] * len(self._cells)
        rows = []
        for token_id in token_ids:
            row, states = self._network(torch.tensor([token_id]), states)
            rows.append(row.numpy()[0])
        return np.stack(rows)

    def _network(self, token_ids: Tensor, states: States) -> tuple[Tensor, States]:
        features = self._embedding[token_ids]
        after = []
        for cell, state in zip(self._cells, states, strict=True):
            after.append(cell(features, state))
            features = after[-1][0]
        if self._projection is not None:
            features = features @ self._projection
        return features @ self._output + self._bias, after


def _cell(config: ModelConfig, weights: Mapping[str, FloatArray], layer: int) -> Tensor:
    """PyTorch has the gates in the same order, and a second bias."""
    cell = torch.nn.LSTMCell(config.input_size(layer), config.hidden_size)
    cell.weight_ih.copy_(_tensor(weights[f"layer_{layer}/kernel"].T))
    cell.weight_hh.copy_(_tensor(weights[f"layer_{layer}/recurrent_kernel"].T))
    cell.bias_ih.copy_(_tensor(weights[f"layer_{layer}/bias"]))
    cell.bias_hh.zero_()
    return cell


def _tensor(values: FloatArray) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32, order="C"))
