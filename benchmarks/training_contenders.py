"""The contenders of ``benchmarks.training_speed``: one model and one training step, three times.

An LSTM with untied embeddings of its own width, mean cross-entropy, the gradient clipped to a norm
of 1, Adam. Run as a process: it makes a step for each line it reads, and answers with JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np

from model.config import ModelConfig
from model.network.initialisation import initial_weights
from model.state import FloatArray, IntArray
from training.processor_cores import use_cores

#: Of TensorFlow, which only its contenders load.
Tensor: TypeAlias = Any

LEARNING_RATE = 1e-3
CLIP_NORM = 1.0


class TrainingContender(Protocol):
    """A model being trained."""

    def step(self, inputs: IntArray, targets: IntArray) -> float:
        """One update on [batch, window] token ids from the zero state; the loss before it."""


class Foretoken:
    """Ours, as the pipeline trains."""

    def __init__(self, config: ModelConfig, dtype: str, task: Mapping[str, int]) -> None:
        use_cores()
        training_step = importlib.import_module("training.training_step")
        plan = importlib.import_module("training.plan").Plan(
            config=config,
            batch_size=task["batch_size"],
            window=task["window"],
            compute_dtype=dtype,
            learning_rate=LEARNING_RATE,
            clip_norm=CLIP_NORM,
            validation_tokens=1,
            seed=0,
            minutes=1.0,
            steps=1,
        )
        self._trained = training_step.TrainingStep(plan)
        self._trained.model.assign_weights(initial_weights(config, 0))
        self._num_steps = 0

    def step(self, inputs: IntArray, targets: IntArray) -> float:
        """As ``TrainingContender``."""
        window = importlib.import_module("training.batches").Window(
            inputs, targets, np.zeros(inputs.shape, bool), False
        )
        self._trained.state[:] = 0.0
        loss, _ = self._trained.train(window, self._num_steps, LEARNING_RATE)
        self._num_steps += 1
        return float(loss)


class KerasLayers:
    """``keras.layers.LSTM`` in a compiled step, with threads as TensorFlow chooses them."""

    def __init__(self, config: ModelConfig, dtype: str, task: Mapping[str, int]) -> None:
        keras = importlib.import_module("keras")
        tf = importlib.import_module("tensorflow")
        policy = "mixed_bfloat16" if dtype == "bfloat16" else "float32"
        weights = initial_weights(config, 0)
        layers = [keras.layers.Embedding(config.vocab_size, config.embedding_size, dtype=policy)]
        for _ in range(config.num_layers):
            layers.append(
                keras.layers.LSTM(config.hidden_size, return_sequences=True, dtype=policy)
            )
        layers.append(keras.layers.Dense(config.vocab_size, dtype=policy))
        model = keras.Sequential(layers)
        model.build((task["batch_size"], task["window"]))
        model.set_weights(_in_order(config, weights))
        optimizer = keras.optimizers.Adam(LEARNING_RATE, global_clipnorm=CLIP_NORM)
        optimizer.build(model.trainable_variables)

        def train(inputs: Tensor, targets: Tensor) -> Tensor:
            with tf.GradientTape() as tape:
                logits = tf.cast(model(inputs, training=True), tf.float32)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
                loss = tf.reduce_mean(losses)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
            return loss

        self._train: Callable[[Tensor, Tensor], Tensor] = tf.function(train)

    def step(self, inputs: IntArray, targets: IntArray) -> float:
        """As ``TrainingContender``."""
        return float(self._train(inputs, targets))


class TorchModule:
    """``torch.nn.LSTM``, eager, with threads as PyTorch chooses them."""

    def __init__(self, config: ModelConfig, dtype: str, task: Mapping[str, int]) -> None:
        torch = self._torch = importlib.import_module("torch")
        weights = {n: torch.from_numpy(w.copy()) for n, w in initial_weights(config, 0).items()}
        self._embedding = torch.nn.Embedding(config.vocab_size, config.embedding_size)
        self._lstm = torch.nn.LSTM(
            config.embedding_size, config.hidden_size, config.num_layers, batch_first=True
        )
        self._output = torch.nn.Linear(config.hidden_size, config.vocab_size)
        with torch.no_grad():
            self._embedding.weight.copy_(weights["embedding"])
            for layer in range(config.num_layers):
                parameters = self._lstm._flat_weights[4 * layer : 4 * layer + 4]
                parameters[0].copy_(weights[f"layer_{layer}/kernel"].T)
                parameters[1].copy_(weights[f"layer_{layer}/recurrent_kernel"].T)
                parameters[2].copy_(weights[f"layer_{layer}/bias"])
                parameters[3].zero_()
            self._output.weight.copy_(weights["output/kernel"].T)
            self._output.bias.copy_(weights["output/bias"])
        modules = (self._embedding, self._lstm, self._output)
        self._parameters = [p for module in modules for p in module.parameters()]
        self._optimizer = torch.optim.Adam(self._parameters, LEARNING_RATE)
        self._half = dtype == "bfloat16"

    def step(self, inputs: IntArray, targets: IntArray) -> float:
        """As ``TrainingContender``."""
        torch = self._torch
        with torch.autocast("cpu", torch.bfloat16, enabled=self._half):
            hidden, _ = self._lstm(self._embedding(torch.from_numpy(inputs).long()))
            logits = self._output(hidden).float()
        expected = torch.from_numpy(targets).long().reshape(-1)
        loss = torch.nn.functional.cross_entropy(logits.reshape(expected.numel(), -1), expected)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, CLIP_NORM)
        self._optimizer.step()
        return float(loss.detach())


def _in_order(config: ModelConfig, weights: Mapping[str, FloatArray]) -> list[FloatArray]:
    """The weights as a stack of Keras layers has them."""
    parts = ("kernel", "recurrent_kernel", "bias")
    layers = [weights[f"layer_{i}/{part}"] for i in range(config.num_layers) for part in parts]
    return [weights["embedding"], *layers, weights["output/kernel"], weights["output/bias"]]


def _serve(contender: TrainingContender, task: Mapping[str, int]) -> None:
    generator = np.random.default_rng(1)
    shape = (task["batch_size"], task["window"] + 1)
    token_ids = generator.integers(0, task["vocab_size"], shape).astype(np.int32)
    inputs, targets = (np.ascontiguousarray(part) for part in (token_ids[:, :-1], token_ids[:, 1:]))
    for _ in sys.stdin:
        started, cpu_started = time.perf_counter(), time.process_time()
        loss = contender.step(inputs, targets)
        answer = {
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu_started,
            "loss": loss,
        }
        print(json.dumps(answer), flush=True)


def main() -> None:
    """Reads what to be from the command line, then serves steps."""
    kind, dtype, task = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    config = ModelConfig(
        cell="lstm",
        vocab_size=task["vocab_size"],
        embedding_size=task["hidden_size"],
        hidden_size=task["hidden_size"],
        num_layers=task["num_layers"],
        tie_embeddings=False,
    )
    classes: dict[str, Callable[..., TrainingContender]] = {
        "Foretoken": Foretoken,
        "KerasLayers": KerasLayers,
        "TorchModule": TorchModule,
    }
    _serve(classes[kind](config, dtype, task), task)


if __name__ == "__main__":
    main()
