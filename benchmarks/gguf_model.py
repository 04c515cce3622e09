"""A model for llama.cpp to compare with: as many weights for a token as ours, in 8 bits.

    python -m benchmarks.gguf_model model.gguf [--bundle DIR | --size 2x512]

writes a transformer of Llama's kind (Touvron et al. 2023) with the bundle's vocabulary and random
weights, which take as long as trained ones. It needs the package gguf, llama.cpp's own.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import chosen_subject, errors_said_plainly, subject_parser
from benchmarks.subject import Subject
from model.state import FloatArray
from model.tokenizers.tokenizer import Tokenizer

_WIDTH = 256
_NUM_HEADS = 4
_NUM_LAYERS = 8
#: Weights are put into 8 bits in blocks of so many.
_BLOCK = 32
_CONTEXT_TOKENS = 4096
_NORMAL_TOKEN, _CONTROL_TOKEN = 1, 3


@dataclass(frozen=True)
class GgufSizes:
    """Sizes of the transformer; its embedding is its output matrix, too."""

    vocab_size: int
    feed_forward: int

    @property
    def num_weights(self) -> int:
        """Weights of all matrices, each of which every token is multiplied with."""
        per_layer = 4 * _WIDTH**2 + 3 * _WIDTH * self.feed_forward
        return _NUM_LAYERS * per_layer + self.vocab_size * _WIDTH


def sizes_for(num_weights: int, vocab_size: int) -> GgufSizes:
    """Those of a transformer with nearly ``num_weights`` weights.

    Raises:
        RuntimeError: that is too few for the vocabulary.
    """
    per_layer = (num_weights - vocab_size * _WIDTH) / _NUM_LAYERS - 4 * _WIDTH**2
    blocks = round(per_layer / (3 * _WIDTH) / _BLOCK)
    if blocks < 1:
        raise RuntimeError(f"{num_weights} weights are too few for {vocab_size} token ids")
    return GgufSizes(vocab_size, blocks * _BLOCK)


def write_gguf(file: Path, subject: Subject) -> GgufSizes:
    """Writes the model that ``subject`` is compared with; returns its sizes.

    Raises:
        RuntimeError: there is no package gguf, or the subject is not of subwords.
    """
    try:
        gguf = importlib.import_module("gguf")
    except ImportError as error:
        raise RuntimeError("writing GGUF files takes a package: pip install gguf") from error
    sizes = sizes_for(subject.config.num_weights(), subject.config.vocab_size)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("random")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_context_length(_CONTEXT_TOKENS)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(_NUM_LAYERS)
    writer.add_feed_forward_length(sizes.feed_forward)
    writer.add_head_count(_NUM_HEADS)
    writer.add_rope_dimension_count(_WIDTH // _NUM_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(sizes.vocab_size)
    _add_tokenizer(writer, subject.tokenizer)
    quantised = gguf.GGMLQuantizationType.Q8_0
    for name, values in _tensors(sizes):
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, quantised), raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sizes


def _add_tokenizer(writer: Any, file: Path) -> None:  # noqa: ANN401  untyped library
    """The vocabulary and the merges; words are cut a little differently, as GPT-2 cuts them."""
    tokenizer = Tokenizer.load(file)
    if tokenizer.kind != "bpe":
        raise RuntimeError("llama.cpp is compared with models of subwords only")
    model = json.loads(file.read_text("utf-8"))["model"]
    names = sorted(model["vocab"], key=model["vocab"].__getitem__)
    end = tokenizer.end_of_text_id
    kinds = [_CONTROL_TOKEN if index == end else _NORMAL_TOKEN for index in range(len(names))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(names)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(value=True)


def _tensors(sizes: GgufSizes) -> Iterator[tuple[str, FloatArray]]:
    """By llama.cpp's names."""
    rng = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> FloatArray:
        values: FloatArray = rng.standard_normal((rows, columns), np.float32)
        return values / np.float32(columns**0.5)

    yield "token_embd.weight", matrix(sizes.vocab_size, _WIDTH)
    yield "output_norm.weight", np.ones(_WIDTH, np.float32)
    for layer in range(_NUM_LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{name}.weight", np.ones(_WIDTH, np.float32)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"blk.{layer}.{name}.weight", matrix(_WIDTH, _WIDTH)
        for name in ("ffn_gate", "ffn_up"):
            yield f"blk.{layer}.{name}.weight", matrix(sizes.feed_forward, _WIDTH)
        yield f"blk.{layer}.ffn_down.weight", matrix(_WIDTH, sizes.feed_forward)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes a file; returns the exit code."""
    parser: argparse.ArgumentParser = subject_parser(
        "python -m benchmarks.gguf_model", "A model for llama.cpp to compare with."
    )
    parser.add_argument("file", type=Path, help="GGUF file to write")
    options = parser.parse_args(arguments)
    with errors_said_plainly() as failed, chosen_subject(options) as subject:
        sizes = write_gguf(options.file, subject)
        ours = subject.config.num_weights()
        print(f"written: {options.file}, {sizes.num_weights:,} weights ({subject.name}: {ours:,})")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
