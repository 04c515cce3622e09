"""Text to token ids and back: ``char``, ``word``, ``bpe``; each one ``tokenizer.json``."""

from model.tokenizers.kinds import END_OF_TEXT, UNKNOWN, TokenizerKind
from model.tokenizers.tokenizer import Tokenizer, replace_surrogates
from model.tokenizers.training import train_tokenizer

__all__ = [
    "END_OF_TEXT",
    "UNKNOWN",
    "Tokenizer",
    "TokenizerKind",
    "replace_surrogates",
    "train_tokenizer",
]
