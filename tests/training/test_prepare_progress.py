"""What a person is shown while a corpus is prepared."""

import io
from pathlib import Path

from training import prepare_progress as progress
from training.corpus import CorpusFile, Document

FILES = [CorpusFile(Path("a"), "a", 60, "txt"), CorpusFile(Path("b"), "b", 40, "txt")]


def test_the_share_grows_over_both_passes(monkeypatch):
    monkeypatch.setattr(progress, "_SHOW_SECONDS", -1.0)
    shown = []
    follow = progress.PrepareProgress(FILES, shown.append)
    for doing in progress.PASSES:
        for index, offset in ((0, 30), (0, 60), (1, 40)):
            follow.update(doing, Document("text", index, offset))
    assert [status.share for status in shown] == [0.15, 0.3, 0.5, 0.65, 0.8, 1.0]
    assert [status.doing for status in shown] == ["reading"] * 3 + ["encoding"] * 3
    assert all(status.megabytes_per_second > 0 for status in shown)


def test_it_shows_no_more_than_some_times_a_second():
    shown = []
    follow = progress.PrepareProgress(FILES, shown.append)
    for _ in range(1000):
        follow.update("reading", Document("text", 0, 30))
    assert len(shown) < 1000
    progress.PrepareProgress(FILES, None).update("reading", Document("text", 0, 30))


def test_a_file_gets_plain_lines_and_a_terminal_a_bar(monkeypatch):
    monkeypatch.setattr(progress, "_PLAIN_SECONDS", -1.0)
    status = progress.PrepareStatus(doing="encoding", share=0.625, megabytes_per_second=8.25)
    plain = io.StringIO()
    with progress.prepare_progress(plain) as show:
        show(status)
    assert plain.getvalue() == "prepare  62% · encoding · 8.2 MB/s\n"
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    with progress.prepare_progress(terminal) as show:
        show(status)
    assert "encoding · 8.2 MB/s" in terminal.getvalue()
