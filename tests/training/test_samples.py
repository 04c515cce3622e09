"""Samples: what the network says, up to the end of its document, the same for the same seed."""

import numpy as np
import pytest
from fake_runtime import FakeRuntime

from model.tokenizers import train_tokenizer
from training.samples import SAMPLE_TOKENS, TEMPERATURES, write_samples


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer("char", ["abcdefgh "], 32)


def test_a_network_sure_of_its_text_writes_it_at_every_temperature_and_ends(tokenizer):
    runtime = FakeRuntime(
        tokenizer.vocab_size, tokenizer.encode("deaf hag"), tokenizer.end_of_text_id
    )
    prompt = [tokenizer.end_of_text_id, *tokenizer.encode("a cab")]
    samples = write_samples(runtime, tokenizer, prompt, seed=1)
    assert [sample.temperature for sample in samples] == list(TEMPERATURES)
    for sample in samples:
        assert sample.prompt == "a cab"
        assert sample.text == "deaf hag"


def test_the_seed_decides_and_the_unknown_token_is_never_written(tokenizer):
    prompt = [tokenizer.end_of_text_id, *tokenizer.encode("head")]
    babble = [
        write_samples(FakeRuntime(tokenizer.vocab_size), tokenizer, prompt, seed)
        for seed in (1, 1, 2)
    ]
    assert babble[0] == babble[1] != babble[2]
    for sample in babble[0]:
        assert "<|unk|>" not in sample.text
        assert len(sample.text) <= SAMPLE_TOKENS


def test_reading_leaves_the_given_ids_alone(tokenizer):
    ids = np.array([tokenizer.end_of_text_id, 3, 4], np.uint16)
    write_samples(FakeRuntime(tokenizer.vocab_size), tokenizer, ids.tolist(), 0)
    assert ids.tolist() == [tokenizer.end_of_text_id, 3, 4]
