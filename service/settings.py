"""The service's settings: flag, else ``FORETOKEN_*`` variable, else default; one frozen object.

The only place that reads the environment. Every field below is a setting: its name makes the flag
(``--max-queue``) and the variable (``FORETOKEN_MAX_QUEUE``), its bounds are checked at start-up,
its description is the flag's help. ``docs/configuration.md`` documents them all.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_serializer,
    field_validator,
)
from pydantic.fields import FieldInfo

from model.errors import ConfigurationError
from service.usable_cores import usable_cores

ENVIRONMENT_PREFIX = "FORETOKEN_"

#: Settings that bound what a request may ask for, in the order they are published.
PUBLISHED_LIMITS = (
    "max_body_bytes",
    "max_tokens",
    "max_prompt_tokens",
    "max_n",
    "max_prompts",
    "max_sequences",
    "max_logprobs",
    "max_stop",
    "max_top_k",
    "max_candidates",
    "max_running",
    "max_queue",
    "queue_timeout_s",
    "request_timeout_s",
)

#: Unless told otherwise, there are no more engines than this, and none for fewer sequences.
_MAX_DEFAULT_ENGINES = 4
_MAX_DEFAULT_THREADS = 4
_LEAST_SEQUENCES = 16

#: A secret shorter than this may be guessed.
MIN_KEY_CHARACTERS = 32

#: What can stand in an ``Authorization`` header.
_KEY = re.compile(r"[!-+\--~]+")

#: What a setting must be, where its type and bounds do not say so.
_BOUNDS = {
    "api_keys": "keys of visible ASCII characters, with commas between",
    "admin_key": "a key of visible ASCII characters",
    "rate_limit_storage": "memory:// or the URL of a Redis server, such as redis://localhost:6379",
    "state_keys": f"a secret of at least {MIN_KEY_CHARACTERS} characters, "
    "or two with a comma between",
}

_PROJECT_DIRECTORY = Path(__file__).resolve().parent.parent


class Settings(BaseModel):
    """Everything about the service that can be set. Immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundles: Path = Field(
        default=_PROJECT_DIRECTORY / "bundles" / "travel",
        description="a bundle, or a folder of bundles; the first by name is the default model",
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(
        default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one"
    )
    engines: int = Field(
        default=0,
        ge=0,
        le=64,
        description="engine processes for each model, which share max_running, max_queue and "
        "state_cache_mb; 0: one for each core it may use, at most 4, of 16 sequences or more each",
    )
    engine_threads: int = Field(default=1, ge=1, le=64, description="threads of each engine")
    engine_threads_alone: int = Field(
        default=0,
        ge=0,
        le=64,
        description="threads of an engine for up to 4 sequences while no other engine computes; "
        "0: one for each core it may use, at most 4, for networks of 3 million weights and more",
    )
    compiled_sampling: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="draw tokens by passes compiled with python -m model.kernel.build; auto: if "
        "they have been built; off: by NumPy, which is slower",
    )
    workers: int = Field(default=1, ge=1, le=64, description="HTTP worker processes")

    max_body_bytes: int = Field(
        default=8_388_608, ge=1024, le=1 << 30, description="largest request body"
    )
    max_prompt_tokens: int = Field(
        default=32_768, ge=1, le=100_000_000, description="longest prompt, in tokens"
    )
    max_prompts: int = Field(default=128, ge=1, le=100_000, description="prompts in one request")
    max_logprobs: int = Field(default=20, ge=0, le=1000, description="largest logprobs")
    max_top_k: int = Field(default=1000, ge=1, le=100_000, description="largest top_k of /v1/next")
    max_tokens: int = Field(
        default=4096, ge=1, le=100_000_000, description="longest completion, in tokens"
    )
    max_n: int = Field(default=20, ge=1, le=1000, description="largest n and best_of")
    max_sequences: int = Field(
        default=256, ge=1, le=100_000, description="sequences in one request: prompts x best_of"
    )
    max_stop: int = Field(
        default=16, ge=1, le=1000, description="stop strings, or stop token ids, in one request"
    )
    max_candidates: int = Field(
        default=2000, ge=1, le=100_000, description="candidates in one request"
    )
    max_running: int = Field(
        default=64, ge=1, le=4096, description="sequences that run at the same time"
    )
    max_queue: int = Field(
        default=256, ge=0, le=65_536, description="sequences that may wait for a place"
    )
    state_cache_mb: int = Field(
        default=16, ge=0, le=65_536, description="memory for states of prompts read lately, in MiB"
    )
    queue_timeout_s: float = Field(
        default=30.0, gt=0, le=86_400, description="longest wait for a place, in seconds"
    )
    request_timeout_s: float = Field(
        default=300.0, gt=0, le=86_400, description="longest wait and run together, in seconds"
    )
    drain_timeout_s: float = Field(
        default=30.0, ge=0, le=86_400, description="time running work gets at shutdown, in seconds"
    )
    api_keys: SecretStr | None = Field(
        default=None,
        description="keys that requests must show, with commas between; none: all are accepted",
    )
    admin_key: SecretStr | None = Field(
        default=None, description="the key of /admin; none: there is no administration over HTTP"
    )
    metrics_access: Literal["open", "key", "admin"] = Field(
        default="open", description="who may read /metrics: all, API keys, or the admin key"
    )
    requests_per_minute: int = Field(
        default=0, ge=0, le=1_000_000_000, description="requests of each client; 0: no limit"
    )
    tokens_per_minute: int = Field(
        default=0, ge=0, le=1_000_000_000_000, description="tokens of each client; 0: no limit"
    )
    rate_limit_storage: str = Field(
        default="memory://",
        pattern=r"^(memory|rediss?|redis\+(sentinel|cluster|unix))://",
        description="where rates are counted: memory://, of each worker, or redis://host:port",
    )
    state_keys: SecretStr | None = Field(
        default=None,
        description="secret that signs states, and a comma and the previous one while it is being "
        "replaced; none: random with every start",
    )
    state_ttl_s: float = Field(
        default=86_400.0, gt=0, le=315_360_000, description="how long a state is good, in seconds"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe messages to log"
    )

    @field_validator("api_keys", "admin_key")
    @classmethod
    def _check_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value().strip():
            return None
        if not all(_KEY.fullmatch(key) for key in split_keys(value)):
            raise ValueError("an empty key, or one with characters that no header can carry")
        return value

    @field_validator("state_keys")
    @classmethod
    def _check_state_keys(cls, value: SecretStr | None) -> SecretStr | None:
        keys = [] if value is None else split_keys(value)
        if len(keys) > 2 or any(len(key) < MIN_KEY_CHARACTERS for key in keys):
            raise ValueError("wrong number or length of keys")
        return value

    @field_serializer("rate_limit_storage")
    def _hide_password(self, url: str) -> str:
        """For the log."""
        return re.sub(r"//[^/@]*@", "//**********@", url)

    @property
    def num_engines(self) -> int:
        """Engine processes for each model; by default what the machine at hand makes best use of.

        The table that led to it is in ``docs/benchmarks.md``.
        """
        if self.engines:
            return self.engines
        most = min(_MAX_DEFAULT_ENGINES, self.max_running // _LEAST_SEQUENCES)
        return max(1, min(usable_cores(), most))

    @property
    def num_threads_alone(self) -> int:
        """Threads of an engine while no other engine computes."""
        return self.engine_threads_alone or min(usable_cores(), _MAX_DEFAULT_THREADS)

    def limits(self) -> dict[str, int | float]:
        """The settings that ``GET /v1/models`` publishes, by name."""
        return {name: getattr(self, name) for name in PUBLISHED_LIMITS}


def split_keys(keys: SecretStr) -> list[str]:
    """The secrets in a setting that may hold several, with commas between."""
    return [key.strip() for key in keys.get_secret_value().split(",")]


def flag_of(name: str) -> str:
    """The command-line flag of a setting: ``max_queue`` -> ``--max-queue``."""
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """The environment variable of a setting: ``max_queue`` -> ``FORETOKEN_MAX_QUEUE``."""
    return ENVIRONMENT_PREFIX + name.upper()


def argument_parser() -> argparse.ArgumentParser:
    """The flags of ``python -m service``: one for each setting, and ``--check``."""
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Serves text completions over HTTP.",
        epilog="Each flag may also be given as a variable: --max-queue is FORETOKEN_MAX_QUEUE.",
        allow_abbrev=False,
    )
    for name, field in Settings.model_fields.items():
        help_text = f"{field.description} (default: {field.default})"
        parser.add_argument(
            flag_of(name), dest=name, metavar="VALUE", help=help_text.replace("%", "%%")
        )
    parser.add_argument(
        "--check", action="store_true", help="check the settings and bundles, then stop"
    )
    return parser


def resolve_settings(flags: Mapping[str, str | None], environment: Mapping[str, str]) -> Settings:
    """Flag, else variable, else default, for each setting.

    Args:
        flags: setting name to the text given on the command line; None where not given.
        environment: all variables; those without the prefix ``FORETOKEN_`` are not looked at.

    Raises:
        ConfigurationError: a value is of the wrong type or out of bounds, or a variable with the
            prefix names no setting. The message names key, value and bound.
    """
    names = {variable_of(name): name for name in Settings.model_fields}
    given: dict[str, str] = {}
    sources: dict[str, str] = {}
    for variable, value in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        if variable not in names:
            raise ConfigurationError(
                f"{variable} is no setting; those there are: {', '.join(sorted(names))}"
            )
        given[names[variable]], sources[names[variable]] = value, variable
    for name, flag_value in flags.items():
        if flag_value is not None:
            given[name], sources[name] = flag_value, flag_of(name)
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        raise ConfigurationError(_describe(error, sources)) from None
    if settings.engines > settings.max_running:
        source, other = (sources.get(name, flag_of(name)) for name in ("engines", "max_running"))
        raise ConfigurationError(
            f"{source} is {settings.engines}; it must be at most {settings.max_running}, which is "
            f"{other}: every engine runs a share of these sequences, and at least one"
        )
    return settings


def load_settings(arguments: Sequence[str] | None = None) -> tuple[Settings, bool]:
    """Reads command line and environment, once, at start-up.

    Returns the settings, and whether ``--check`` was given.

    Raises:
        ConfigurationError: see ``resolve_settings``.
        SystemExit: ``--help``, or an unknown flag.
    """
    flags: dict[str, Any] = vars(argument_parser().parse_args(arguments))
    check = bool(flags.pop("check"))
    return resolve_settings(flags, os.environ), check


def _describe(error: ValidationError, sources: Mapping[str, str]) -> str:
    problems = []
    for item in error.errors(include_url=False):
        name = str(item["loc"][0])
        bound = _BOUNDS.get(name) or bound_of(Settings.model_fields[name])
        value = "not usable" if _is_secret(Settings.model_fields[name]) else repr(item["input"])
        problems.append(f"{sources.get(name, name)} is {value}; it must be {bound}")
    return "; ".join(problems)


def bound_of(field: FieldInfo) -> str:
    """A setting's type and bounds in words: ``a whole number from 1 to 64``."""
    choices = get_args(field.annotation)
    if choices:
        return "one of " + ", ".join(choices)
    if field.annotation is Path:
        return "a path"
    if field.annotation is str:
        return "a non-empty text"
    kind = "a whole number" if field.annotation is int else "a number"
    bounds: dict[str, float] = {}
    for item in field.metadata:
        bounds |= {name: getattr(item, name) for name in ("gt", "ge", "le") if hasattr(item, name)}
    low = f"above {bounds['gt']}, up" if "gt" in bounds else f"from {bounds['ge']}"
    return f"{kind} {low} to {bounds['le']}"


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in get_args(field.annotation)
