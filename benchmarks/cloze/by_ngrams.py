"""Blanks filled by the Kneser-Ney n-grams that a network is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.cloze.sentences import Filling, Sentence
from model.tokenizers.tokenizer import Tokenizer
from training.ngram import NgramModel
from training.prepared_corpus import PreparedCorpus

_NUM_WORDS = 200


class NgramFiller:
    """Learns n-grams of the training tokens of a run.

    Args:
        prepared: ``runs/<name>/prepared``.
        order: of the n-grams.

    Raises:
        CorpusError: there is no prepared corpus.
    """

    def __init__(self, prepared: Path, order: int) -> None:
        corpus = PreparedCorpus.load(prepared)
        self._tokenizer = corpus.tokenizer()
        self._ngrams = NgramModel(
            corpus.token_file("train").ids(), corpus.vocab_size, max_order=order
        )
        self._words = _words_of_one_token(self._tokenizer)
        self._order = order

    def fill(self, sentence: Sentence, languages: list[str]) -> Filling:
        """All words are the 200 likeliest by the left side that are one token each."""
        left = [self._tokenizer.end_of_text_id, *self._tokenizer.encode(sentence.left)]
        logprobs = np.log(self._ngrams.distribution(left))
        likely = sorted(self._words, key=lambda token_id: -logprobs[token_id])[:_NUM_WORDS]
        words = [self._words[token_id] for token_id in likely]
        return Filling(sentence, self._ordered(sentence, words), self._ordered(sentence, languages))

    def _ordered(self, sentence: Sentence, words: Sequence[str]) -> tuple[str, ...]:
        """``words`` by the probability of the whole sentence with each of them."""
        scores = {word: self._logprob(f"{sentence.left} {word}{sentence.right}") for word in words}
        return tuple(sorted(scores, key=lambda word: -scores[word]))

    def _logprob(self, text: str) -> float:
        ids = np.array([self._tokenizer.end_of_text_id, *self._tokenizer.encode(text)], np.uint16)
        return float(self._ngrams.logprobs(ids)[self._order][1:].sum())


def _words_of_one_token(tokenizer: Tokenizer) -> dict[int, str]:
    texts = {token_id: tokenizer.decode([token_id]) for token_id in range(tokenizer.vocab_size)}
    return {
        token_id: text.strip()
        for token_id, text in texts.items()
        if text.startswith(" ") and text.strip().isalpha()
    }
