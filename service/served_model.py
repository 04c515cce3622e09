"""A model as an HTTP worker sees it: names and sizes, tokenizer, the line to its engines."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from model.bundle.load import Bundle
from model.tokenizers.tokenizer import Tokenizer
from service.compiled_sampling import kernel_for
from service.engine_build import engine_build
from service.engine_client import EngineClient
from service.engine_client.lines import Lines
from service.errors import ApiError, shown
from service.job_events import engine_errors_as_api_errors
from service.recurrent_state import StateModel
from service.settings import Settings
from service.words.vocabulary import WordVocabulary

#: The longest text one word token stands for, in bytes: an unknown word of 64 letters and a space.
_LONGEST_WORD_BYTES = 260


class ServedModel:
    """One model: what is known of it, its tokenizer and its engines.

    To be made once per process, after a fork: it calls the engines.

    Attributes:
        num_users: requests that still need its engines.
    """

    def __init__(
        self,
        bundle: Bundle,
        addresses: Sequence[str],
        settings: Settings,
        *,
        worker: int = 1,
        lines: Lines | None = None,
    ) -> None:
        """Loads the tokenizer; the engines need not be up yet.

        Args:
            bundle: the model.
            addresses: of its engines.
            settings: of the service.
            worker: number of the HTTP worker that this is, from 1 on.
            lines: whose thread talks to the engines; None: a new one.

        Raises:
            TokenizerError: the tokenizer cannot be used.
        """
        self.bundle = bundle
        self.settings = settings
        self.tokenizer = Tokenizer.load(bundle.tokenizer_path)
        self.engines = EngineClient(addresses, first=worker - 1, lines=lines)
        self.num_users = 0

    @property
    def id(self) -> str:
        """The name that requests ask for."""
        return self.bundle.manifest.name

    @property
    def version(self) -> str:
        """The bundle's version."""
        return str(self.bundle.manifest.version or 0)

    @property
    def id_and_version(self) -> str:
        """As the header ``foretoken-model`` has it."""
        return f"{self.id}@{self.version}"

    @cached_property
    def fingerprint(self) -> str:
        """Changes if, and only if, answers to the same request may change."""
        manifest = self.bundle.manifest
        build = engine_build(kernel_for(self.settings))
        parts = (manifest.network.digest, manifest.tokenizer.digest, build)
        return "fp_" + hashlib.sha256("/".join(parts).encode()).hexdigest()[:12]

    @property
    def max_length(self) -> int:
        """The longest prompt and completion together, in tokens: a matter of policy."""
        return self.settings.max_prompt_tokens + self.settings.max_tokens

    @cached_property
    def state_model(self) -> StateModel:
        """What its states are known by."""
        return StateModel(
            name=self.id,
            version=self.bundle.manifest.version or 0,
            digest=self.fingerprint,
            state_size=self.bundle.config.state_size,
        )

    @cached_property
    def limits(self) -> dict[str, int | float]:
        """What bounds a request's fields: the published limits and the size of the vocabulary."""
        return {**self.settings.limits(), "vocab_size": self.tokenizer.vocab_size}

    @cached_property
    def longest_token_bytes(self) -> int:
        """No token stands for more bytes of text than this."""
        tokenizer = self.tokenizer
        sizes = (
            len(tokenizer.token_bytes(token_id, skip_special=False))
            for token_id in range(tokenizer.vocab_size)
        )
        return max(*sizes, _LONGEST_WORD_BYTES if tokenizer.kind == "word" else 4)

    @cached_property
    def word_vocabulary(self) -> WordVocabulary:
        """What each token does to a word."""
        return WordVocabulary(self.tokenizer)

    def check_ready(self) -> None:
        """Refuses while no engine takes jobs, and in the beginning until all do.

        Raises:
            ApiError: ``model_loading`` until the first time all do, then ``engine_unavailable``.
        """
        if not self.engines.begun:
            raise ApiError("model_loading", f"model {self.id} is being loaded; try again soon")
        if not self.engines.ready:
            raise ApiError("engine_unavailable", "the engine is being restarted; try again soon")

    def check_room(self, num_sequences: int, param: str, num_ahead: int = 0) -> None:
        """Refuses at once what the engines would refuse anyway.

        Args:
            num_sequences: that one request asks for.
            param: its field that says how many.
            num_ahead: that others will have asked for before.

        Raises:
            ApiError: ``too_many_sequences`` for what would be refused for ever; ``overloaded``,
                ``shutting_down``, or as ``check_ready``.
        """
        capacity = self.settings.max_running + self.settings.max_queue
        if num_sequences > capacity:
            raise ApiError(
                "too_many_sequences",
                f"{param} asks for {num_sequences} sequences at once; there is never room for more "
                f"than max_running + max_queue, which is {capacity}",
                param=param,
            )
        if not self.engines.status():
            self.check_ready()
        with engine_errors_as_api_errors():
            self.engines.check_room(num_sequences, num_ahead)

    def describe(self) -> dict[str, Any]:
        """The ``Model`` object of ``GET /v1/models``."""
        return {
            "id": self.id,
            "object": "model",
            "created": int(self.bundle.manifest.created),
            "owned_by": "foretoken",
            "version": self.version,
            "max_model_len": self.max_length,
            "tokenizer": {
                "kind": self.tokenizer.kind,
                "vocab_size": self.tokenizer.vocab_size,
            },
            "embedding_dimensions": self.bundle.config.hidden_size,
            "state_bytes": self.state_model.payload_bytes,
            "limits": self.settings.limits(),
        }


class ServedModels:
    """All models served, by name; the first is the default."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models = {model.id: model for model in models}
        self._lock = threading.Lock()
        self.default = models[0]

    def replace(self, models: Sequence[ServedModel]) -> list[ServedModel]:
        """From now on these are served; returns those that are not any more."""
        with self._lock:
            gone = [model for model in self._models.values() if model not in models]
            self._models = {model.id: model for model in models}
            self.default = models[0]
            return gone

    def borrow(self, name: object) -> ServedModel:
        """As ``find``; the model's engines stay until it is given back."""
        with self._lock:
            model = self.find(name)
            model.num_users += 1
            return model

    def give_back(self, model: ServedModel) -> None:
        """What was borrowed is not needed any more."""
        with self._lock:
            model.num_users -= 1

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    def find(self, name: object) -> ServedModel:
        """The model a request asks for by ``name``; None asks for the default.

        Raises:
            ApiError: ``invalid_type``, ``model_not_found``.
        """
        if name is None:
            return self.default
        if not isinstance(name, str):
            raise ApiError(
                "invalid_type", f"model must be a string, not {shown(name)}", param="model"
            )
        if name not in self._models:
            names = ", ".join(self._models)
            raise ApiError(
                "model_not_found",
                f"there is no model {shown(name)}; the models here: {names}",
                param="model",
            )
        return self._models[name]
