"""An export is published once, however often it is asked for."""

import shutil

import pytest

from model.bundle.load import load_bundle
from model.bundle.versions import list_versions, read_current
from model.errors import BundleError
from training.publish import publish_run
from training.run_directory import RunDirectory


@pytest.fixture
def run(finished, tmp_path) -> RunDirectory:
    run = RunDirectory(tmp_path / "runs" / "tales")
    shutil.copytree(finished.run.export, run.export)
    return run


def test_the_first_time_it_becomes_the_version_served(run, tmp_path):
    assert publish_run(run, tmp_path / "bundles") == (1, True)
    bundle = load_bundle(tmp_path / "bundles" / "tales")
    assert (bundle.manifest.name, bundle.manifest.version) == ("tales", 1)


def test_the_same_export_is_not_published_twice(run, tmp_path):
    publish_run(run, tmp_path / "bundles")
    assert publish_run(run, tmp_path / "bundles") == (1, False)
    assert list_versions(tmp_path / "bundles", "tales") == [1]


def test_another_export_or_another_folder_gets_a_version_of_its_own(run, tmp_path):
    publish_run(run, tmp_path / "bundles")
    assert publish_run(run, tmp_path / "elsewhere") == (1, True)
    (run.export / "README.md").write_text("# changed\n")
    from model.bundle.write import write_checksums

    write_checksums(run.export)
    assert publish_run(run, tmp_path / "elsewhere") == (2, True)
    assert read_current(tmp_path / "elsewhere" / "tales") == 2


def test_a_version_that_was_deleted_is_published_again(run, tmp_path):
    publish_run(run, tmp_path / "bundles")
    shutil.rmtree(tmp_path / "bundles")
    assert publish_run(run, tmp_path / "bundles") == (1, True)


def test_a_damaged_export_is_refused(run, tmp_path):
    (run.export / "network.tflite").write_bytes(b"")
    with pytest.raises(BundleError, match=r"network\.tflite"):
        publish_run(run, tmp_path / "bundles")
    assert list_versions(tmp_path / "bundles", "tales") == []
