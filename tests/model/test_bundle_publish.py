import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model.bundle import publish as publishing
from model.bundle.load import load_bundle
from model.bundle.manifest import read_manifest
from model.bundle.publish import publish, rollback
from model.bundle.versions import list_versions, read_current
from model.bundle.write import write_bundle
from model.errors import BundleCorruptError, BundleError, BundleNotFoundError, ConfigurationError

ROOT = Path(__file__).resolve().parents[2]

#: For n = 1, 2, ...: publishes version 2 beside version 1 in a child that dies by SIGKILL before
#: its n-th line of publishing code, until one lives to the end. Prints, for each, whether it died,
#: what version loads then, and what version loads after publishing once more.
KILLED_AT_EVERY_LINE = """
import os, shutil, signal, sys
from pathlib import Path
from model.bundle import load, publish

source, published, trials = map(Path, sys.argv[1:])
watched = ("publish.py", "durable_files.py", "versions.py", "write.py")

def publish_until(last_line, bundles):
    lines = 0
    def trace(frame, event, _):
        nonlocal lines
        if not frame.f_code.co_filename.endswith(watched):
            return None
        if event == "line":
            lines += 1
            if lines == last_line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    publish.publish(source, bundles, "travel")

for n in range(1, 1000):
    bundles = trials / str(n)
    shutil.copytree(published, bundles / "travel")
    child = os.fork()
    if child == 0:
        publish_until(n, bundles)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    found = load.load_bundle(bundles / "travel").manifest.version
    publish.publish(source, bundles, "travel")
    again = load.load_bundle(bundles / "travel").manifest.version
    left = [entry.name for entry in (bundles / "travel").glob(".incoming-*")]
    print(os.WIFSIGNALED(status), found, again, *left)
    shutil.rmtree(bundles)
    if status == 0:
        break
"""

#: Publishes for ever; a large file makes most of the time pass inside system calls.
PUBLISHES_FOR_EVER = """
import sys
from pathlib import Path
from model.bundle.publish import publish
print("ready", flush=True)
while True:
    publish(Path(sys.argv[1]), Path(sys.argv[2]), "travel")
"""


@pytest.fixture
def fast_path(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, if there is one: hundreds of syncs to a busy disk take too long."""
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        yield Path(directory)


def python(script: str, *arguments: Path | str) -> list[str]:
    return [sys.executable, "-c", script, *map(str, arguments)]


def add_file(source: Path, num_bytes: int) -> None:
    """Makes the bundle in ``source`` larger by one file."""
    (source / "report.html").write_bytes(os.urandom(num_bytes))
    write_bundle(source, read_manifest(source))


def test_versions_count_up_and_the_newest_is_served(bundle_source: Path, tmp_path: Path) -> None:
    bundles = tmp_path / "made" / "bundles"
    assert publish(bundle_source, bundles, "travel") == 1
    assert publish(bundle_source, bundles, "travel") == 2
    assert publish(bundle_source, bundles, "other") == 1
    assert list_versions(bundles, "travel") == [1, 2]
    manifest = load_bundle(bundles / "travel").manifest
    assert (manifest.name, manifest.version) == ("travel", 2)
    assert load_bundle(bundle_source).manifest.version is None


def test_a_published_version_is_readable_by_others(bundle_source: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        publish(bundle_source, tmp_path, "travel")
    finally:
        os.umask(before)
    assert (tmp_path / "travel" / "1").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "travel" / "1" / "network.tflite").stat().st_mode & 0o777 == 0o644


def test_only_listed_files_are_published(bundle_source: Path, tmp_path: Path) -> None:
    (bundle_source / "scratch.tmp").write_text("")
    publish(bundle_source, tmp_path, "travel")
    assert not (tmp_path / "travel" / "1" / "scratch.tmp").exists()


def test_a_published_bundle_can_be_published_under_another_name(
    bundle_source: Path, tmp_path: Path
) -> None:
    publish(bundle_source, tmp_path, "travel")
    publish(tmp_path / "travel", tmp_path, "copy")
    assert load_bundle(tmp_path / "copy").manifest.name == "copy"


def test_a_damaged_source_is_refused_before_anything_is_made(
    bundle_source: Path, tmp_path: Path
) -> None:
    (bundle_source / "network.tflite").write_bytes(b"cut")
    with pytest.raises(BundleCorruptError, match=r"network\.tflite"):
        publish(bundle_source, tmp_path / "bundles", "travel")
    assert not (tmp_path / "bundles").exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden"])
def test_bad_names_are_refused(bundle_source: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError):
        publish(bundle_source, tmp_path / "bundles", name)
    with pytest.raises(ConfigurationError):
        rollback(tmp_path, name)


def test_a_number_left_by_a_death_before_current_is_not_used_again(
    bundle_source: Path, tmp_path: Path
) -> None:
    publish(bundle_source, tmp_path, "travel")
    shutil.copytree(tmp_path / "travel" / "1", tmp_path / "travel" / "2")
    assert load_bundle(tmp_path / "travel").directory.name == "1"
    assert publish(bundle_source, tmp_path, "travel") == 3


def test_remains_of_the_dead_are_swept(bundle_source: Path, tmp_path: Path) -> None:
    remains = tmp_path / "travel" / ".incoming-1-99"
    remains.mkdir(parents=True)
    (remains / "network.tflite").write_bytes(b"half")
    (tmp_path / "travel" / ".incoming-CURRENT").write_text("1")
    publish(bundle_source, tmp_path, "travel")
    entries = {entry.name for entry in (tmp_path / "travel").iterdir()}
    assert entries == {"1", "CURRENT", ".lock"}


def test_killed_before_every_line_the_old_version_stays_served(
    bundle_source: Path, fast_path: Path
) -> None:
    publish(bundle_source, fast_path / "bundles", "travel")
    published = fast_path / "bundles" / "travel"
    output = subprocess.check_output(
        python(KILLED_AT_EVERY_LINE, bundle_source, published, fast_path / "trials"),
        cwd=ROOT,
        text=True,
    )
    *killed, finished = [line.split() for line in output.splitlines()]
    assert len(killed) > 50
    assert finished == ["False", "2", "3"]
    # Served are version 1, and from the last rename on version 2; nothing is left, nothing reused.
    assert {tuple(outcome) for outcome in killed} == {
        ("True", "1", "2"),
        ("True", "1", "3"),
        ("True", "2", "3"),
    }


def test_killed_at_random_moments_some_whole_version_stays_served(
    bundle_source: Path, tmp_path: Path
) -> None:
    add_file(bundle_source, 8_000_000)
    publish(bundle_source, tmp_path, "travel")
    for milliseconds in (1, 5, 9, 14, 21, 33, 52, 80):
        publisher = subprocess.Popen(
            python(PUBLISHES_FOR_EVER, bundle_source, tmp_path), cwd=ROOT, stdout=subprocess.PIPE
        )
        with publisher:
            publisher.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                publisher.wait(milliseconds / 1000)
            publisher.send_signal(signal.SIGKILL)
        served = load_bundle(tmp_path / "travel").manifest.version
        assert served == read_current(tmp_path / "travel")
        for version in list_versions(tmp_path, "travel"):
            load_bundle(tmp_path / "travel" / str(version))
    assert publish(bundle_source, tmp_path, "travel") == max(list_versions(tmp_path, "travel"))


def test_a_reader_never_sees_half_a_bundle(bundle_source: Path, tmp_path: Path) -> None:
    publish(bundle_source, tmp_path, "travel")
    with subprocess.Popen(
        python(PUBLISHES_FOR_EVER, bundle_source, tmp_path), cwd=ROOT, stdout=subprocess.PIPE
    ) as publisher:
        publisher.stdout.readline()
        seen: list[int] = []
        while len(seen) < 100 or seen[-1] == seen[0]:  # until there was a newer one to see
            seen.append(load_bundle(tmp_path / "travel").manifest.version)
        publisher.kill()
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


def test_publishers_at_the_same_time_take_turns(bundle_source: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(lambda _: publish(bundle_source, tmp_path, "travel"), range(12)))
    assert sorted(versions) == list(range(1, 13))
    assert list_versions(tmp_path, "travel") == list(range(1, 13))
    assert read_current(tmp_path / "travel") == 12


def test_a_source_that_changes_meanwhile_is_refused(
    bundle_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_of_a_changing_file(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes() + (b"!" if source.suffix == ".md" else b""))

    publish(bundle_source, tmp_path, "travel")
    monkeypatch.setattr(publishing, "copy_synced", copy_of_a_changing_file)
    with pytest.raises(BundleCorruptError, match=r"README\.md changed while it was published"):
        publish(bundle_source, tmp_path, "travel")
    assert list_versions(tmp_path, "travel") == [1]
    assert not list((tmp_path / "travel").glob(".incoming-*"))


def test_a_file_that_cannot_be_written_whole_leaves_the_old_version(
    bundle_source: Path, tmp_path: Path
) -> None:
    publish(bundle_source, tmp_path, "travel")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        with pytest.raises(BundleError, match=r"too large.*version served before still is"):
            publish(bundle_source, tmp_path, "travel")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert load_bundle(tmp_path / "travel").manifest.version == 1
    assert not list((tmp_path / "travel").glob(".incoming-*"))
    assert publish(bundle_source, tmp_path, "travel") == 2


#: In a mount namespace of its own: a disk with room for one version and a half.
ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from model.bundle.load import load_bundle
from model.bundle.publish import publish
from model.errors import BundleError
source, disk = Path(sys.argv[1]), Path(sys.argv[2])
publish(source, disk, "travel")
try:
    publish(source, disk, "travel")
except BundleError as error:
    print(error)
print(load_bundle(disk / "travel").manifest.version)
print(sorted(entry.name for entry in (disk / "travel").iterdir()))
"""


def test_a_full_disk_is_reported_and_the_old_version_stays_served(
    bundle_source: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=184k tmpfs '{disk}'"
    isolated = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*isolated, mount], capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine lets no test mount a file system of its own")
    output = subprocess.check_output(
        [*isolated, f'{mount} && exec "$@"', "sh", *python(ON_A_SMALL_DISK, bundle_source, disk)],
        cwd=ROOT,
        text=True,
    ).splitlines()
    assert "No space left on device" in output[0]
    assert "The version served before still is" in output[0]
    assert output[1:] == ["1", "['.lock', '1', 'CURRENT']"]


def test_a_directory_nobody_may_write_is_a_clear_error(bundle_source: Path, tmp_path: Path) -> None:
    (tmp_path / "bundles").write_text("a file in the way")
    with pytest.raises(BundleError, match="cannot be changed"):
        publish(bundle_source, tmp_path / "bundles", "travel")


def test_rollback_goes_one_back_and_forth_again(bundle_source: Path, tmp_path: Path) -> None:
    for _ in range(3):
        publish(bundle_source, tmp_path, "travel")
    assert rollback(tmp_path, "travel") == 2
    assert load_bundle(tmp_path / "travel").manifest.version == 2
    assert rollback(tmp_path, "travel") == 1
    with pytest.raises(BundleNotFoundError, match="no version before 1"):
        rollback(tmp_path, "travel")
    assert rollback(tmp_path, "travel", 3) == 3
    assert load_bundle(tmp_path / "travel").manifest.version == 3


def test_rollback_skips_a_gap(bundle_source: Path, tmp_path: Path) -> None:
    for _ in range(3):
        publish(bundle_source, tmp_path, "travel")
    shutil.rmtree(tmp_path / "travel" / "2")
    assert rollback(tmp_path, "travel") == 1


def test_rollback_to_what_cannot_be_served_changes_nothing(
    bundle_source: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleNotFoundError, match="no version of travel is published"):
        rollback(tmp_path, "travel")
    publish(bundle_source, tmp_path, "travel")
    publish(bundle_source, tmp_path, "travel")
    with pytest.raises(BundleNotFoundError, match=r"no version 9 \(existing: 1, 2\)"):
        rollback(tmp_path, "travel", 9)
    (tmp_path / "travel" / "1" / "network.tflite").unlink()
    with pytest.raises(BundleCorruptError, match=r"network\.tflite is missing"):
        rollback(tmp_path, "travel")
    assert read_current(tmp_path / "travel") == 2


def test_what_happened_is_logged(
    bundle_source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        publish(bundle_source, tmp_path, "travel")
        publish(bundle_source, tmp_path, "travel")
        rollback(tmp_path, "travel")
    assert caplog.messages == [
        "published travel version 1",
        "published travel version 2",
        "rolled travel back to version 1",
    ]
