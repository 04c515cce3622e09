from pathlib import Path

import pytest

from model.bundle.__main__ import main
from model.bundle.load import load_bundle
from model.bundle.versions import read_current


@pytest.fixture
def published(bundle_source: Path, tmp_path: Path) -> Path:
    bundle = tmp_path / "bundles" / "travel"
    for _ in range(3):
        assert main(["publish", str(bundle_source), str(bundle)]) == 0
    return bundle


def test_publish_says_what_it_did(
    bundle_source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundles" / "travel"
    assert main(["publish", str(bundle_source), str(bundle)]) == 0
    assert load_bundle(bundle).manifest.version == 1
    assert f"{bundle} now names version 1; restart" in capsys.readouterr().out


def test_verify_says_what_the_bundle_is(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["verify", str(published)]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"{published / '3'} is whole\ntravel version 3: gru, 1 x 4, ")
    assert "10 char tokens, 2.160 bits per byte" in output
    assert load_bundle(published).digest in output


def test_versions_marks_the_one_served(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollback", str(published)]) == 0
    capsys.readouterr()
    assert main(["versions", str(published)]) == 0
    assert capsys.readouterr().out == "  1\n* 2\n  3\n"


def test_rollback_to_a_version_named_relative_to_here(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(published)
    assert main(["rollback", ".", "1"]) == 0
    assert read_current(published) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify", "{b}/9"],
        ["versions", "{b}x"],
        ["rollback", "{b}", "9"],
        ["publish", "{b}x", "{b}"],
    ],
)
def test_an_error_is_one_line_and_exit_code_2(
    published: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    capsys.readouterr()
    assert main([argument.format(b=published) for argument in arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert read_current(published) == 3


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["rollback", "x", "two"]])
def test_wrong_arguments_show_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: python -m model.bundle" in capsys.readouterr().err
