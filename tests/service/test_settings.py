"""Where settings come from, what they may be, and that each is documented."""

import re
from pathlib import Path

import pytest

from model.errors import ConfigurationError
from service.settings import (
    PUBLISHED_LIMITS,
    Settings,
    argument_parser,
    flag_of,
    load_settings,
    resolve_settings,
    variable_of,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_flag_beats_variable_beats_default():
    assert resolve_settings({}, {}).max_queue == 256
    assert resolve_settings({}, {"FORETOKEN_MAX_QUEUE": "7"}).max_queue == 7
    assert resolve_settings({"max_queue": "8"}, {"FORETOKEN_MAX_QUEUE": "7"}).max_queue == 8


@pytest.mark.parametrize(
    ("cores", "max_running", "engines"),
    [(1, 64, 1), (2, 64, 2), (3, 64, 3), (64, 64, 4), (8, 4096, 4), (2, 31, 1), (2, 1, 1)],
)
def test_how_many_engines_there_are_by_default(monkeypatch, cores, max_running, engines):
    monkeypatch.setattr("service.settings.usable_cores", lambda: cores)
    assert Settings(max_running=max_running).num_engines == engines
    assert Settings(max_running=max_running, engines=1).num_engines == 1
    assert Settings(engines=64).num_engines == 64


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (4, 4), (64, 4)])
def test_how_many_threads_an_engine_has_by_itself(monkeypatch, cores, threads):
    monkeypatch.setattr("service.settings.usable_cores", lambda: cores)
    assert Settings().num_threads_alone == threads
    assert Settings(engine_threads_alone=1).num_threads_alone == 1
    assert Settings(engine_threads_alone=64).num_threads_alone == 64


def test_variables_of_others_are_not_looked_at():
    assert resolve_settings({}, {"MAX_QUEUE": "x", "foretoken_port": "x"}) == Settings()


@pytest.mark.parametrize(
    ("flags", "environment", "words"),
    [
        ({}, {"FORETOKEN_PROT": "1"}, ["FORETOKEN_PROT", "no setting", "FORETOKEN_PORT"]),
        ({}, {"FORETOKEN_PORT": "70000"}, ["FORETOKEN_PORT", "'70000'", "from 0 to 65535"]),
        ({"port": "http"}, {}, ["--port", "'http'", "a whole number"]),
        ({"port": "80.5"}, {}, ["--port", "'80.5'", "a whole number"]),
        ({"queue_timeout_s": "0"}, {}, ["--queue-timeout-s", "'0'", "above 0"]),
        ({"queue_timeout_s": "nan"}, {}, ["--queue-timeout-s", "'nan'"]),
        ({"log_level": "loud"}, {}, ["--log-level", "'loud'", "debug, info"]),
        ({}, {"FORETOKEN_API_KEYS": "a,,b"}, ["FORETOKEN_API_KEYS", "commas between"]),
        ({"api_keys": "a b"}, {}, ["--api-keys", "visible"]),
        ({"rate_limit_storage": "http://x"}, {}, ["--rate-limit-storage", "redis://"]),
        ({"host": ""}, {}, ["--host", "''", "non-empty"]),
        ({"engines": ""}, {}, ["--engines", "''", "from 0 to 64"]),
        ({"engines": "3"}, {"FORETOKEN_MAX_RUNNING": "2"}, ["--engines is 3", "at most 2"]),
        ({"max_running": "2"}, {"FORETOKEN_ENGINES": "3"}, ["FORETOKEN_ENGINES", "--max-running"]),
    ],
)
def test_a_bad_value_names_key_value_and_bound(flags, environment, words):
    with pytest.raises(ConfigurationError) as caught:
        resolve_settings(flags, environment)
    for word in words:
        assert word in str(caught.value)


def test_all_bad_values_are_named_at_once():
    with pytest.raises(ConfigurationError, match=r"--port.*--engines"):
        resolve_settings({"port": "x", "engines": "x"}, {})


def test_command_line_and_environment(monkeypatch):
    monkeypatch.setenv("FORETOKEN_MAX_N", "3")
    settings, check = load_settings(["--port", "0", "--check"])
    assert (settings.port, settings.max_n, check) == (0, 3, True)
    assert load_settings([])[1] is False


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1


def test_published_limits_are_settings():
    assert list(Settings().limits()) == list(PUBLISHED_LIMITS)
    assert Settings(max_n=3).limits()["max_n"] == 3


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_has_help_and_is_documented(name):
    assert flag_of(name) in argument_parser().format_help()
    row = next(
        (line for line in DOCUMENT.read_text().splitlines() if f"`{flag_of(name)}`" in line), ""
    )
    assert f"`{variable_of(name)}`" in row
    field = Settings.model_fields[name]
    default = "bundles/travel" if name == "bundles" else str(field.default)
    assert f"`{default}`" in row


def test_nothing_undocumented_is_documented():
    known = {variable_of(name) for name in Settings.model_fields}
    named = set(re.findall(r"FORETOKEN_[A-Z_]*[A-Z]", DOCUMENT.read_text()))
    assert named == known


def test_secrets_are_not_shown():
    settings = Settings.model_validate(
        {"api_keys": "hush", "admin_key": "hush", "rate_limit_storage": "redis://me:hush@host:1"}
    )
    assert "hush" not in settings.model_dump_json()
    assert "hush" not in str(resolve_error({"api_keys": "hush hush"}))
    assert settings.rate_limit_storage == "redis://me:hush@host:1"


def resolve_error(flags):
    with pytest.raises(ConfigurationError) as caught:
        resolve_settings(flags, {})
    return caught.value


def test_an_empty_key_is_none():
    assert (
        resolve_settings({}, {"FORETOKEN_API_KEYS": "", "FORETOKEN_ADMIN_KEY": " "}) == Settings()
    )
