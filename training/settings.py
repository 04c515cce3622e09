"""Every setting of the pipeline: name, default, bounds, help. Reads the environment, once.

Precedence: flag > ``FORETOKEN_<NAME>`` variable > what the run was started with > default. Owns no
decision about the model: what is left at ``None`` here is chosen by ``training.plan``.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from model.config import Cell
from model.errors import ConfigurationError
from model.tokenizers.kinds import TokenizerKind

ComputeDtype = Literal["auto", "float32", "bfloat16"]
Stage = Literal["prepare", "train", "any"]

ENVIRONMENT_PREFIX = "FORETOKEN_"


def _setting(
    default: object,
    help_text: str,
    *,
    stage: Stage = "any",
    low: float | None = None,
    high: float | None = None,
) -> Any:  # noqa: ANN401 - the declared type of the dataclass field is what counts
    """A field with its help, inclusive bounds and the stage whose result depends on it."""
    metadata = {"help": help_text, "stage": stage, "low": low, "high": high}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings, resolved and checked. ``None`` means: not given; the pipeline chooses.

    Raises:
        ConfigurationError: a value is out of bounds; names key, value and bound.
    """

    corpus: Path | None = _setting(
        None, "file or folder of .txt, .jsonl or .csv text, also .gz", stage="prepare"
    )
    validation: Path | None = _setting(
        None, "file or folder of validation text, in place of a share", stage="prepare"
    )
    test: Path | None = _setting(
        None, "file or folder of test text, in place of a share", stage="prepare"
    )
    field: str = _setting("text", "name of the text field in .jsonl files", stage="prepare")
    column: str = _setting("text", "name of the text column in .csv files", stage="prepare")
    validation_share: float = _setting(
        0.05, "share of the documents kept for validation", stage="prepare", low=0.001, high=0.4
    )
    test_share: float = _setting(
        0.05, "share of the documents kept for the test", stage="prepare", low=0.001, high=0.4
    )
    tokenizer: TokenizerKind | None = _setting(
        None, "kind of token [bpe, or that of --from]", stage="prepare"
    )
    vocab_size: int | None = _setting(
        None, "largest number of token ids [by corpus size]", stage="prepare", low=8, high=1_000_000
    )
    from_bundle: Path | None = _setting(
        None, "bundle to fine-tune: its tokenizer, sizes and weights are kept", stage="prepare"
    )
    minutes: float = _setting(
        10.0, "wall-clock minutes to train for", stage="train", low=0.01, high=100_000
    )
    steps: int | None = _setting(
        None, "train exactly this many steps instead of --minutes", stage="train", low=1, high=10**9
    )
    cell: Cell | None = _setting(
        None, "kind of recurrent cell [lstm, or that of --from]", stage="train"
    )
    layers: int | None = _setting(
        None, "recurrent layers [by budget]", stage="train", low=1, high=64
    )
    hidden_size: int | None = _setting(
        None, "width of a recurrent layer [by budget]", stage="train", low=1, high=16_384
    )
    embedding_size: int | None = _setting(
        None, "width of a token's vector [by vocabulary]", stage="train", low=1, high=16_384
    )
    tie_embeddings: bool | None = _setting(
        None, "share the embedding with the output [by vocabulary]", stage="train"
    )
    dropout: float | None = _setting(
        None, "share of units dropped in training [by corpus size]", stage="train", low=0, high=0.95
    )
    batch_size: int | None = _setting(
        None, "streams read side by side [by corpus size]", stage="train", low=1, high=4096
    )
    window: int | None = _setting(
        None, "tokens between weight updates [by corpus size]", stage="train", low=1, high=8192
    )
    learning_rate: float | None = _setting(
        None, "highest learning rate [by size]", stage="train", low=1e-7, high=1.0
    )
    weight_decay: float = _setting(
        0.01, "decoupled weight decay", stage="train", low=0.0, high=1.0
    )
    clip_norm: float = _setting(
        1.0, "largest global norm of a gradient", stage="train", low=1e-3, high=1e3
    )
    compute_dtype: ComputeDtype = _setting(
        "auto", "number format of matrix products [fastest]", stage="train"
    )
    seed: int = _setting(
        1, "seed of weights, dropout and order of reading", stage="train", low=0, high=2**31 - 1
    )
    patience: int = _setting(
        12,
        "validations without a better result before training stops early (of 40 in all)",
        stage="train",
        low=1,
        high=1000,
    )
    checkpoint_seconds: float = _setting(
        60.0, "seconds between checkpoints; 0: after every step", low=0.0, high=86_400.0
    )
    validation_tokens: int | None = _setting(
        None, "tokens of each validation [by budget]", stage="train", low=64, high=10**9
    )
    evaluation_tokens: int = _setting(
        200_000, "most test tokens scored; 0: all", low=0, high=10**9
    )
    max_quality_loss: float = _setting(
        0.02,
        "largest rise of bits per byte by int8, as a share, that may be published",
        low=0.0,
        high=1.0,
    )
    runs: Path = _setting(Path("runs"), "folder of training runs")
    bundles: Path = _setting(Path("bundles"), "folder of published bundles")

    def __post_init__(self) -> None:
        for setting in dataclasses.fields(self):
            value = getattr(self, setting.name)
            low, high = setting.metadata["low"], setting.metadata["high"]
            if value is None or low is None:
                continue
            if not low <= value <= high:
                raise ConfigurationError(
                    f"{flag(setting.name)} is {value}; it must be from {low:g} to {high:g}"
                )
        if self.validation_share + self.test_share > 0.5:
            raise ConfigurationError(
                f"--validation-share {self.validation_share:g} and --test-share "
                f"{self.test_share:g} leave less than half of the corpus to train on"
            )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {key: _plain(value) for key, value in dataclasses.asdict(self).items()}


def flag(key: str) -> str:
    """The command-line flag of the setting ``key``: ``hidden_size`` -> ``--hidden-size``."""
    return "--from" if key == "from_bundle" else "--" + key.replace("_", "-")


def variable(key: str) -> str:
    """The environment variable of the setting ``key``: ``FORETOKEN_HIDDEN_SIZE``."""
    return ENVIRONMENT_PREFIX + ("FROM" if key == "from_bundle" else key.upper())


def stage_of(key: str) -> Stage:
    """The first stage whose result depends on the setting ``key``."""
    for setting in dataclasses.fields(Settings):
        if setting.name == key:
            stage: Stage = setting.metadata["stage"]
            return stage
    raise KeyError(key)


def given_settings(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings given on purpose, parsed: those of ``flags``, then those of ``environ``.

    Raises:
        ConfigurationError: a value cannot be read as its type; names key, value and type.
    """
    given: dict[str, Any] = {}
    for key, kind in get_type_hints(Settings).items():
        raw = flags.get(key)
        name = flag(key)
        if raw is None:
            raw, name = environ.get(variable(key)), variable(key)
        if raw is not None:
            given[key] = _parse(name, raw, kind)
    return given


def _parse(name: str, raw: str, kind: Any) -> Any:  # noqa: ANN401 - any of the field types
    """``raw`` as a value of type ``kind``."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is Literal:
        if raw not in get_args(kind):
            raise ConfigurationError(
                f"{name} is {raw!r}; it must be one of {', '.join(get_args(kind))}"
            )
        return raw
    if kind is bool:
        return _parse_bool(name, raw)
    wanted = {int: "a whole number", float: "a number"}.get(kind, "text")
    try:
        value = kind(raw)
    except ValueError as error:
        raise ConfigurationError(f"{name} is {raw!r}; it must be {wanted}") from error
    if kind is float and value != value:  # noqa: PLR0124 - only NaN differs from itself
        raise ConfigurationError(f"{name} is {raw!r}; it must be a number")
    return value


def _parse_bool(name: str, raw: str) -> bool:
    answers = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if raw.lower() not in answers:
        raise ConfigurationError(f"{name} is {raw!r}; it must be true or false")
    return answers[raw.lower()]


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Settings from plain ``values`` as ``Settings.to_dict`` gives them.

    Raises:
        ConfigurationError: a key is unknown, or a value is out of bounds.
    """
    known = {setting.name for setting in dataclasses.fields(Settings)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigurationError(f"unknown settings: {', '.join(unknown)}")
    paths = {"corpus", "validation", "test", "from_bundle", "runs", "bundles"}
    return Settings(
        **{
            key: Path(value) if key in paths and value is not None else value
            for key, value in values.items()
        }
    )
