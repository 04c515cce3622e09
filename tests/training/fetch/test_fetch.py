"""``python -m training fetch`` against a server that fails in all the ways servers do."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from book_server import Page, book_server, cut_after, dripping, serve, silent, status
from click.testing import CliRunner

from training.__main__ import main
from training.corpus import find_corpus_files

BOOK = "".join(f"Line {number} of a tale about nobody in particular.\n" for number in range(2_000))
GUTENBERG_FILE = (
    "\ufeffThe Project Gutenberg eBook of A Walk to the Hills\r\n\r\n"
    "Title: A Walk to the Hills\r\n\r\nAuthor: Nobody Atall\r\n\r\n"
    "Release date: June 1, 2003 [eBook #42]\r\n\r\n"
    "*** START OF THE PROJECT GUTENBERG EBOOK A WALK TO THE HILLS ***\r\n\r\n"
    "We left at dawn.\r\nThe air was cold.\r\n\r\n"
    "*** END OF THE PROJECT GUTENBERG EBOOK A WALK TO THE HILLS ***\r\n\r\nA licence.\r\n"
)


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def server():
    with book_server() as running:
        running.pages["/tale.txt"] = Page(BOOK)
        yield running


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "books"


@pytest.fixture
def fetch(server, folder, monkeypatch):
    """Runs the command; without pauses unless told otherwise."""

    def run(*sources, pause=0.0, attempts=3, timeout=5, **options):
        addresses = [f"{server.url}{s}" if s.startswith("/") else s for s in sources]
        given = {"pause": pause, "attempts": attempts, "timeout": timeout, **options}
        flags = [part for key, value in given.items() for part in (f"--{key}", str(value))]
        return CliRunner().invoke(main, ["fetch", "--to", str(folder), *flags, *addresses])

    return run


def test_a_book_by_number_comes_clean_and_is_recorded(server, folder, fetch):
    server.pages["/cache/epub/42/pg42.txt"] = Page(GUTENBERG_FILE)
    done = fetch("42", mirror=server.url)
    assert done.exit_code == 0, done.output
    assert (folder / "pg42.txt").read_text() == "We left at dawn.\nThe air was cold.\n"
    record = json.loads((folder / "fetched.json").read_text())["texts"]["pg42.txt"]
    assert record == {
        "source": "42",
        "url": f"{server.url}/cache/epub/42/pg42.txt",
        "served_bytes": len(GUTENBERG_FILE.encode()),
        "served_sha256": sha256(GUTENBERG_FILE),
        "bytes": 35,
        "sha256": sha256("We left at dawn.\nThe air was cold.\n"),
        "title": "A Walk to the Hills",
        "author": "Nobody Atall",
        "date": "June 1, 2003",
    }
    assert "Nobody Atall: A Walk to the Hills" in done.output
    assert [file.name for file in find_corpus_files(folder)] == ["pg42.txt"]
    _, headers, _ = server.requests[0]
    assert headers["User-Agent"].startswith("Foretoken")
    assert headers["Accept-Encoding"] == "identity"


def test_the_folders_of_a_mirror_are_made_of_the_digits(server, fetch):
    for number, path in (("1342", "/1/3/4/1342/1342-0.txt"), ("7", "/0/7/7-0.txt")):
        server.pages[path] = Page(BOOK)
        mirror = server.url + "/{folder}/{number}/{number}-0.txt"
        assert fetch(number, mirror=mirror).exit_code == 0


def test_what_is_there_is_not_asked_for_again(server, folder, fetch):
    assert fetch("/tale.txt").exit_code == 0
    again = fetch("/tale.txt")
    assert len(server.requests) == 1
    assert "1 were there before" in again.output
    (folder / "tale.txt").write_text("altered")
    assert fetch("/tale.txt").exit_code == 0
    assert (folder / "tale.txt").read_text() == BOOK


def test_a_book_of_another_mirror_is_the_same_book(server, fetch):
    server.pages["/cache/epub/42/pg42.txt"] = Page(GUTENBERG_FILE)
    assert fetch("42", mirror=server.url).exit_code == 0
    assert fetch("42", mirror="http://127.0.0.1:9").exit_code == 0
    assert len(server.requests) == 1


@pytest.mark.parametrize("tag", ['"v1"', None])
def test_a_cut_connection_is_gone_on_with_where_the_version_is_known(server, folder, fetch, tag):
    server.pages["/tale.txt"].tag = tag
    server.faults.extend([cut_after(20_000), cut_after(30_000)])
    assert fetch("/tale.txt").exit_code == 0
    assert (folder / "tale.txt").read_text() == BOOK
    expected = ["bytes=20000-", "bytes=50000-"] if tag else [None, None]
    assert server.ranges() == [None, *expected]


def test_an_attempt_that_brings_something_is_no_failure(server, folder, fetch):
    server.faults.extend([cut_after(10_000)] * 6)
    assert fetch("/tale.txt", attempts=2).exit_code == 0
    assert (folder / "tale.txt").read_text() == BOOK


def test_a_text_that_changed_between_two_halves_comes_whole(server, folder, fetch):
    server.faults.append(cut_after(20_000))
    assert fetch("/tale.txt", attempts=1).exit_code == 2
    server.pages["/tale.txt"] = Page(BOOK.upper(), tag='"v2"')
    assert fetch("/tale.txt").exit_code == 0
    assert (folder / "tale.txt").read_text() == BOOK.upper()


def test_two_halves_that_do_not_match_the_checksum_are_fetched_anew(
    server, folder, fetch, tmp_path
):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{server.url}/tale.txt sha256={sha256(BOOK)}\n")
    server.pages["/tale.txt"] = Page(BOOK.upper(), tag=None)
    server.faults.append(cut_after(20_000))
    assert fetch(list=listed, attempts=1).exit_code == 2
    server.pages["/tale.txt"] = Page(BOOK, tag=None)
    assert fetch(list=listed).exit_code == 0
    assert (folder / "tale.txt").read_text() == BOOK
    assert server.ranges() == [None, "bytes=20000-", None]


def test_a_server_that_knows_no_ranges_sends_all_again(server, folder, fetch):
    def whole(handler, page):
        del handler.headers["Range"]
        serve(handler, page)

    server.faults.extend([cut_after(20_000), whole])
    assert fetch("/tale.txt").exit_code == 0
    assert (folder / "tale.txt").read_text() == BOOK


@pytest.mark.parametrize(
    "content_range", [None, "bytes 0-3/4", "bytes 19999-99999/100000", "nonsense"]
)
def test_another_part_than_the_one_asked_for_is_not_taken(server, folder, fetch, content_range):
    headers = {} if content_range is None else {"Content_Range": content_range}
    server.faults.extend([cut_after(20_000), status(206, **headers)])
    assert fetch("/tale.txt").exit_code == 0
    assert (folder / "tale.txt").read_text() == BOOK


def test_a_wrong_checksum_is_told_and_the_right_one_accepted(server, folder, fetch, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{server.url}/tale.txt sha256={'0' * 64}  # wrong\n")
    wrong = fetch(list=listed)
    assert wrong.exit_code == 2
    assert f"wrong checksum: what {server.url}/tale.txt serves has sha256 {sha256(BOOK)}" in (
        wrong.output
    )
    assert not (folder / "tale.txt").exists()
    listed.write_text(f"{server.url}/tale.txt name=mine.txt sha256={sha256(BOOK).upper()}\n")
    assert fetch(list=listed).exit_code == 0
    assert (folder / "mine.txt").read_text() == BOOK


def test_a_text_that_is_not_there_keeps_no_other_from_coming(server, folder, fetch):
    done = fetch("/gone.txt", "/tale.txt")
    assert done.exit_code == 2
    assert "/gone.txt is not there (404); check the number or the address" in done.output
    assert "error: 1 of 2 could not be fetched" in done.output
    assert (folder / "tale.txt").read_text() == BOOK


def test_a_server_that_refuses_programs_is_not_asked_again(server, fetch):
    server.faults.append(status(403))
    done = fetch("/tale.txt")
    assert "refuses (403)" in done.output
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [429, 503])
def test_a_busy_server_is_given_the_time_it_asks_for(server, folder, fetch, code):
    server.faults.append(status(code, Retry_After="1"))
    assert fetch("/tale.txt").exit_code == 0
    (_, _, first), (_, _, second) = server.requests
    assert second - first >= 1.0


def test_the_time_may_be_asked_for_by_date(server, fetch):
    date = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    server.faults.append(status(503, Retry_After=date))
    done = fetch("/tale.txt")
    assert done.exit_code == 2
    assert "says 503" in done.output
    assert "start the same command again after that" in done.output
    assert len(server.requests) == 1


def test_a_server_that_keeps_failing_is_given_up_for_all_its_texts(server, fetch):
    server.faults.extend([status(500)] * 9)
    done = fetch("/tale.txt", "/other.txt", attempts=3)
    assert done.exit_code == 2
    assert "tried 3 times" in done.output
    assert "2 of 2 could not be fetched" in done.output
    assert len(server.requests) == 3


def test_nobody_listens(folder, fetch):
    done = fetch("http://127.0.0.1:9/tale.txt", attempts=2)
    assert done.exit_code == 2
    assert "the server refuses connections; tried 2 times" in done.output


@pytest.mark.parametrize("fault", [silent(2.0), dripping(4.0)])
def test_a_server_that_falls_silent_is_not_waited_for(server, folder, fetch, fault):
    server.faults.append(fault)
    started = time.monotonic()
    assert fetch("/tale.txt", timeout=0.5).exit_code == 0
    assert time.monotonic() - started < 3.5
    assert (folder / "tale.txt").read_text() == BOOK


def test_requests_keep_their_distance(server, fetch):
    for number in range(3):
        server.pages[f"/{number}.txt"] = Page(BOOK)
    assert fetch("/0.txt", "/1.txt", "/2.txt", pause=0.3).exit_code == 0
    moments = [moment for _, _, moment in server.requests]
    assert all(after - before >= 0.29 for before, after in pairwise(moments))


def test_redirects_are_followed_to_an_end(server, folder, fetch):
    server.faults.append(status(302, Location="/moved/tale.txt"))
    server.pages["/moved/tale.txt"] = Page(BOOK)
    assert fetch("/tale.txt").exit_code == 0
    server.faults.extend([status(302, Location="/loop.txt")] * 20)
    done = fetch("/loop.txt")
    assert "redirects without end" in done.output
    assert len(server.requests) < 12


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (Page("<html>Not found</html>", kind="text/html; charset=utf-8"), "is a web page"),
        (Page(b"PK\x03\x04\x00\x00"), "is no text but a binary file"),
        (Page("  \n"), "holds no text"),
    ],
)
def test_what_is_no_text_is_refused(server, folder, fetch, page, message):
    server.pages["/tale.txt"] = page
    done = fetch("/tale.txt")
    assert done.exit_code == 2
    assert message in done.output
    assert not (folder / "tale.txt").exists()


def test_other_kinds_of_corpus_are_kept_byte_for_byte(server, folder, fetch):
    content = b'{"text": "caf\xe9"}\r\n'
    server.pages["/a.jsonl"] = Page(content, kind="application/x-ndjson")
    assert fetch("/a.jsonl").exit_code == 0
    assert (folder / "a.jsonl").read_bytes() == content


def test_latin_1_becomes_utf_8(server, folder, fetch):
    server.pages["/old"] = Page("Le café\r\nfermé\r\n".encode("latin-1"))
    assert fetch("/old").exit_code == 0
    assert (folder / "old.txt").read_bytes() == "Le café\nfermé\n".encode()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("12x", "'12x' is neither the number of a book nor an address"),
        ("ftp://host/a.txt", "is neither the number of a book"),
        ("12 md5=1", "'md5=1' is neither sha256=... nor name=..."),
        ("12 sha256=12", "sha256= must be 64 hexadecimal digits"),
        ("12 name=../a.txt", "no usable file name in '../a.txt'"),
        ("12 name=.hidden", "no usable file name"),
        ("https://host/", "no usable file name in ''"),
        ("12\n13 name=pg12.txt", "would both be saved as pg12.txt"),
        ("# nothing", "nothing to fetch"),
    ],
)
def test_a_mistake_in_a_list_is_told_before_anything_is_fetched(
    server, fetch, tmp_path, line, message
):
    listed = tmp_path / "list.txt"
    listed.write_text(line + "\n")
    done = fetch(list=listed, mirror=server.url)
    assert done.exit_code == 2
    assert message in done.output
    assert not server.requests


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"list": "nowhere.txt"}, "--list nowhere.txt cannot be read"),
        ({"mirror": "gutenberg.org"}, "--mirror is 'gutenberg.org'; it must begin with https://"),
        ({"mirror": "https://host/{book}"}, "it knows only {number} and {folder}"),
        ({"pause": "-1"}, "Invalid value for '--pause'"),
        ({"pause": "nan"}, "nan is no number of seconds"),
        ({"attempts": "0"}, "Invalid value for '--attempts'"),
    ],
)
def test_a_mistaken_option_is_told(fetch, options, message):
    done = fetch("42", **options)
    assert done.exit_code == 2
    assert message in done.output


def test_a_damaged_manifest_is_told(folder, fetch):
    folder.mkdir()
    (folder / "fetched.json").write_text("{")
    done = fetch("/tale.txt")
    assert "fetched.json cannot be read" in done.output
    assert "remove it to fetch all anew" in done.output


def start_fetch(server, folder):
    # Whoever runs the tests in the background has Ctrl-C ignored, and so would this process.
    python = ["env", "--default-signal=INT", sys.executable]
    command = [*python, "-m", "training", "fetch", "--to", str(folder), "--pause", "0"]
    return subprocess.Popen(
        [*command, f"{server.url}/tale.txt"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_bytes(folder):
    part = folder / ".tale.txt.part"
    for _ in range(600):
        if part.exists() and part.stat().st_size >= 8192:
            return
        time.sleep(0.05)
    pytest.fail("nothing came")


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_killed_or_stopped_it_goes_on_with_the_byte_that_is_missing(
    server, folder, fetch, signal_number
):
    server.faults.append(lambda handler, page: serve(handler, page, delay_seconds=0.6))
    process = start_fetch(server, folder)
    wait_for_bytes(folder)
    busy = fetch("/tale.txt")
    assert "another fetch is at work" in busy.output
    process.send_signal(signal_number)
    _, said = process.communicate(timeout=30)
    if signal_number == signal.SIGINT:
        assert process.returncode == 2
        assert said.strip() == "error: stopped; start the same command again to go on"
    assert not (folder / "tale.txt").exists()
    assert fetch("/tale.txt").exit_code == 0
    assert (folder / "tale.txt").read_text() == BOOK
    assert int(server.ranges()[-1].removeprefix("bytes=").removesuffix("-")) >= 8192
    assert sorted(path.name for path in folder.iterdir()) == [
        ".fetch.lock",
        "fetched.json",
        "tale.txt",
    ]


def test_a_text_that_had_come_before_the_kill_is_not_sent_again(server, folder, fetch):
    folder.mkdir()
    (folder / ".tale.txt.part").write_text(BOOK)
    note = {"url": f"{server.url}/tale.txt", "version": '"v1"'}
    (folder / ".tale.txt.part.json").write_text(json.dumps(note))
    assert fetch("/tale.txt").exit_code == 0
    assert (folder / "tale.txt").read_text() == BOOK
    assert server.ranges() == [f"bytes={len(BOOK)}-"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted, which only root may do")
def test_a_full_disk_is_told_and_nothing_is_lost(server, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "none", disk], check=False)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        process = start_fetch(server, disk)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "No space left on device. Free some space or choose another --to" in said
        assert len([line for line in said.splitlines() if line]) == 1
        assert not (disk / "tale.txt").exists()
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        process = start_fetch(server, disk)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert (disk / "tale.txt").read_text() == BOOK
        assert server.ranges()[-1] is not None
    finally:
        subprocess.run(["umount", disk], check=True)
