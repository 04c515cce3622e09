"""Settings: precedence, bounds, messages."""

from pathlib import Path

import pytest

from model.errors import ConfigurationError
from training.settings import (
    GivenSettings,
    Settings,
    flag,
    given_settings,
    stage_of,
    variable,
)


def resolved(flags=None, environ=None, saved=None) -> Settings:
    return given_settings(flags or {}, environ or {}).over(saved or {})


def test_flag_wins_over_variable_over_saved_over_default():
    environ = {"FORETOKEN_WINDOW": "20"}
    saved = {"window": 30}
    assert resolved().window is None
    assert resolved(saved=saved).window == 30
    assert resolved(environ=environ, saved=saved).window == 20
    assert resolved({"window": "10"}, environ, saved).window == 10


def test_texts_are_read_as_their_types():
    settings = resolved(
        {"minutes": "2.5", "tie_embeddings": "false", "corpus": "a/b", "cell": "gru", "steps": "7"}
    )
    assert settings.minutes == 2.5
    assert settings.tie_embeddings is False
    assert settings.corpus == Path("a/b")
    assert (settings.cell, settings.steps) == ("gru", 7)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("minutes", "0", r"--minutes is '0'; it should be greater than or equal to 0.01"),
        ("minutes", "nan", r"--minutes is 'nan'; it should be a finite number"),
        ("minutes", "soon", r"--minutes is 'soon'; it should be a valid number"),
        ("hidden_size", "0", r"--hidden-size is '0'; it should be greater than or equal to 1"),
        ("hidden_size", "1.5", r"--hidden-size is '1.5'; it should be a valid integer"),
        ("dropout", "1", r"--dropout is '1'; it should be less than or equal to 0.95"),
        ("cell", "lsmt", r"--cell is 'lsmt'; it should be 'simple_rnn', 'gru' or 'lstm'"),
        ("tokenizer", "", r"--tokenizer is ''; it should be 'char', 'word' or 'bpe'"),
        ("seed", "-1", r"--seed is '-1'; it should be greater than or equal to 0"),
        ("tie_embeddings", "perhaps", r"--tie-embeddings is 'perhaps'; it should be a valid bool"),
    ],
)
def test_a_bad_value_names_key_value_and_bound(key, value, message):
    with pytest.raises(ConfigurationError, match=message):
        resolved({key: value})


def test_a_bad_variable_is_named_as_the_variable():
    with pytest.raises(ConfigurationError, match="FORETOKEN_BATCH_SIZE is '-4'"):
        resolved(environ={"FORETOKEN_BATCH_SIZE": "-4"})


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigurationError, match=r"--window.*--seed"):
        resolved({"window": "0", "seed": "x"})


def test_shares_must_leave_text_to_train_on():
    with pytest.raises(ConfigurationError, match="more than half"):
        resolved({"validation_share": "0.3", "test_share": "0.3"})


def test_unknown_saved_settings_are_refused():
    with pytest.raises(ConfigurationError, match="hiden_size"):
        GivenSettings({}, {}).over({"hiden_size": 3})


def test_settings_survive_being_saved():
    settings = resolved({"corpus": "text", "minutes": "3", "layers": "2"})
    assert GivenSettings({}, {}).over(settings.model_dump(mode="json")) == settings


def test_flags_and_variables_are_named_alike():
    assert (flag("hidden_size"), variable("hidden_size")) == (
        "--hidden-size",
        "FORETOKEN_HIDDEN_SIZE",
    )
    assert (flag("from_bundle"), variable("from_bundle")) == ("--from", "FORETOKEN_FROM")


def test_every_setting_has_help_and_a_stage():
    for key, setting in Settings.model_fields.items():
        assert setting.description, key
        assert stage_of(key) in ("prepare", "train", "any")
    assert (stage_of("corpus"), stage_of("cell"), stage_of("runs")) == ("prepare", "train", "any")
