"""Every setting of the pipeline: name, default, bounds, help. Reads the environment, once.

Precedence: flag > ``FORETOKEN_<NAME>`` variable > what the run was started with > default. Owns no
decision about the model: what is left at ``None`` here is chosen by ``training.planning``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.config import JsonDict

from model.config import Cell
from model.errors import ConfigurationError
from model.tokenizers.kinds import TokenizerKind

#: The first stage whose result depends on a setting; ``any``: none is made anew by a change.
Stage = Literal["prepare", "train", "any"]

ENVIRONMENT_PREFIX = "FORETOKEN_"

_PREPARE: JsonDict = {"stage": "prepare"}
_TRAIN: JsonDict = {"stage": "train"}


def _paths(value: object) -> object:
    """Text with commas as a tuple; what was saved, or is no text, as it is."""
    return tuple(filter(None, value.split(","))) if isinstance(value, str) else value


class Settings(BaseModel):
    """All settings, resolved and checked. ``None`` means: not given; the pipeline chooses."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    corpus: Path | None = Field(
        None,
        description="file or folder of .txt, .jsonl or .csv text, also .gz",
        json_schema_extra=_PREPARE,
    )
    validation: Path | None = Field(
        None,
        description="file or folder of validation text, in place of a share of the corpus",
        json_schema_extra=_PREPARE,
    )
    test: Path | None = Field(
        None,
        description="file or folder of test text, in place of a share of the corpus",
        json_schema_extra=_PREPARE,
    )
    field: str = Field(
        "text", description="name of the text field in .jsonl files", json_schema_extra=_PREPARE
    )
    column: str = Field(
        "text", description="name of the text column in .csv files", json_schema_extra=_PREPARE
    )
    validation_share: float = Field(
        0.05,
        description="share of the documents kept for validation",
        ge=0.001,
        le=0.4,
        json_schema_extra=_PREPARE,
    )
    test_share: float = Field(
        0.05,
        description="share of the documents kept for the test",
        ge=0.001,
        le=0.4,
        json_schema_extra=_PREPARE,
    )
    tokenizer: TokenizerKind | None = Field(
        None,
        description="kind of token: char, word or bpe [bpe, or that of --from]",
        json_schema_extra=_PREPARE,
    )
    vocab_size: int | None = Field(
        None,
        description="largest number of token ids [by corpus size]",
        ge=3,
        le=1_000_000,
        json_schema_extra=_PREPARE,
    )
    from_bundle: Path | None = Field(
        None,
        description="bundle to fine-tune: its tokenizer, sizes and weights are kept; a greater "
        "--hidden-size or --embedding-size makes its network wider",
        json_schema_extra=_PREPARE,
    )
    average_with: Annotated[tuple[Path, ...], BeforeValidator(_paths)] = Field(
        (),
        description="further bundles, separated by commas: the mean of their weights and those of "
        "--from is fine-tuned, narrower ones widened first",
        json_schema_extra=_TRAIN,
    )
    minutes: float = Field(
        10.0,
        description="wall-clock minutes to train for",
        ge=0.01,
        le=100_000,
        json_schema_extra=_TRAIN,
    )
    steps: int | None = Field(
        None,
        description="train exactly this many steps instead of --minutes",
        ge=1,
        le=10**9,
        json_schema_extra=_TRAIN,
    )
    cell: Cell | None = Field(
        None,
        description="kind of cell: simple_rnn, gru or lstm [lstm, or that of --from]",
        json_schema_extra=_TRAIN,
    )
    layers: int | None = Field(
        None, description="recurrent layers [1]", ge=1, le=64, json_schema_extra=_TRAIN
    )
    hidden_size: int | None = Field(
        None,
        description="width of a recurrent layer [by budget]",
        ge=1,
        le=16_384,
        json_schema_extra=_TRAIN,
    )
    embedding_size: int | None = Field(
        None,
        description="width of a token's vector [by vocabulary]",
        ge=1,
        le=16_384,
        json_schema_extra=_TRAIN,
    )
    tie_embeddings: bool | None = Field(
        None,
        description="whether the embedding is the output matrix too [by vocabulary]",
        json_schema_extra=_TRAIN,
    )
    dropout: float | None = Field(
        None,
        description="share of units dropped in training [by corpus size]",
        ge=0.0,
        le=0.95,
        json_schema_extra=_TRAIN,
    )
    weight_dropout: float = Field(
        0.0,
        description="share of recurrent weights dropped in training",
        ge=0.0,
        le=0.95,
        json_schema_extra=_TRAIN,
    )
    embedding_dropout: float = Field(
        0.0,
        description="share of words dropped in training",
        ge=0.0,
        le=0.95,
        json_schema_extra=_TRAIN,
    )
    activation_penalty: float = Field(
        0.0,
        description="penalty on the size of the last layer's outputs in training",
        ge=0.0,
        le=100.0,
        json_schema_extra=_TRAIN,
    )
    temporal_penalty: float = Field(
        0.0,
        description="penalty on their change from token to token in training",
        ge=0.0,
        le=100.0,
        json_schema_extra=_TRAIN,
    )
    batch_size: int | None = Field(
        None,
        description="streams read side by side [by budget]",
        ge=1,
        le=4096,
        json_schema_extra=_TRAIN,
    )
    window: int | None = Field(
        None,
        description="tokens between two updates of the weights [by budget]",
        ge=1,
        le=8192,
        json_schema_extra=_TRAIN,
    )
    late_window: int | None = Field(
        None,
        description="the same for the last quarter of the budget [as before]",
        ge=1,
        le=8192,
        json_schema_extra=_TRAIN,
    )
    learning_rate: float | None = Field(
        None,
        description="highest learning rate [by size]",
        ge=1e-7,
        le=1.0,
        json_schema_extra=_TRAIN,
    )
    weight_decay: float = Field(
        0.01, description="decoupled weight decay", ge=0.0, le=1.0, json_schema_extra=_TRAIN
    )
    clip_norm: float = Field(
        1.0,
        description="largest global norm of a gradient",
        ge=1e-3,
        le=1e3,
        json_schema_extra=_TRAIN,
    )
    compute_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="number format of matrix products; auto: the fastest here",
        json_schema_extra=_TRAIN,
    )
    recurrence: Literal["auto", "loop", "keras"] = Field(
        "auto",
        description="who walks through time: our loop, or Keras' layers, which is cuDNN where "
        "TensorFlow sees a graphics processor; auto: the faster there, elsewhere loop",
        json_schema_extra=_TRAIN,
    )
    seed: int = Field(
        1,
        description="seed of the first weights, of dropout and of the order of reading",
        ge=0,
        le=2**31 - 1,
        json_schema_extra=_TRAIN,
    )
    patience: int = Field(
        12,
        description="validations, of 40 in all, without a gain before training stops early",
        ge=1,
        le=1000,
        json_schema_extra=_TRAIN,
    )
    validation_tokens: int | None = Field(
        None,
        description="tokens of each validation [by budget]",
        ge=64,
        le=10**9,
        json_schema_extra=_TRAIN,
    )
    checkpoint_seconds: float = Field(
        60.0, description="seconds between checkpoints; 0: after every step", ge=0.0, le=86_400.0
    )
    evaluation_tokens: int = Field(
        200_000, description="most test tokens scored; 0: all", ge=0, le=10**9
    )
    max_quality_loss: float = Field(
        0.02,
        description="largest rise of bits per byte by int8, as a share, that is published",
        ge=0.0,
        le=1.0,
    )
    example_prompt: str = Field(
        "",
        description="what to try the model with, shown when it is served; "
        "empty: it begins a text of its own",
        max_length=256,
    )
    card_note: str | None = Field(
        None,
        description="what readers of the model card should know of the texts, in Markdown",
        max_length=4000,
    )
    runs: Path = Field(Path("runs"), description="folder of training runs")
    bundles: Path = Field(Path("bundles"), description="folder of published bundles")

    @model_validator(mode="after")
    def _leaves_text_to_train_on(self) -> Self:
        if self.validation_share + self.test_share > 0.5:
            raise ValueError("the shares held out together are more than half of the corpus")
        return self

    @model_validator(mode="after")
    def _has_a_bundle_to_average_with(self) -> Self:
        if self.average_with and self.from_bundle is None:
            raise ValueError("--average-with needs --from, the first of the bundles to average")
        return self


#: By what ``remember`` trains each cell on the text where nothing else is given, as text.
REMEMBER_DEFAULTS: Mapping[str, str] = {
    "tokenizer": "char",
    "steps": "600",
    "hidden_size": "128",
    "batch_size": "32",
    "window": "100",
    "dropout": "0",
    "evaluation_tokens": "50000",
}


@dataclass(frozen=True)
class GivenSettings:
    """What was set on purpose, as text.

    Attributes:
        values: by key.
        names: the flag or variable that each key came from, for messages.
    """

    values: Mapping[str, str]
    names: Mapping[str, str]

    def over(self, saved: Mapping[str, Any]) -> Settings:
        """These settings over ``saved`` over the defaults.

        Raises:
            ConfigurationError: a value cannot be used; names key, value and bound.
        """
        try:
            return Settings.model_validate({**saved, **self.values})
        except ValidationError as error:
            problems = [self._problem(dict(problem)) for problem in error.errors()]
            raise ConfigurationError("; ".join(problems)) from error

    def _problem(self, problem: Mapping[str, Any]) -> str:
        message = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input should ")
        if not problem["loc"]:
            return message
        key = str(problem["loc"][0])
        return f"{self.names.get(key, key)} is {problem['input']!r}; it should {message}"


def given_settings(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> GivenSettings:
    """The settings given in ``flags``, and those in ``environ`` that no flag overrides."""
    values, names = {}, {}
    for key in Settings.model_fields:
        for raw, name in ((flags.get(key), flag(key)), (environ.get(variable(key)), variable(key))):
            if raw is not None:
                values[key], names[key] = raw, name
                break
    return GivenSettings(values, names)


def flag(key: str) -> str:
    """The command-line flag of the setting ``key``: ``hidden_size`` -> ``--hidden-size``."""
    return "--from" if key == "from_bundle" else "--" + key.replace("_", "-")


def variable(key: str) -> str:
    """The environment variable of the setting ``key``: ``FORETOKEN_HIDDEN_SIZE``."""
    return ENVIRONMENT_PREFIX + ("FROM" if key == "from_bundle" else key.upper())


def stage_of(key: str) -> Stage:
    """The first stage whose result depends on the setting ``key``."""
    extra = Settings.model_fields[key].json_schema_extra
    stage: Stage = extra["stage"] if isinstance(extra, dict) else "any"  # type: ignore[assignment]
    return stage
