"""Which bundles are served."""

import shutil

import pytest
from tiny_bundle import tiny_bundle

from model.errors import BundleNotFoundError
from service.bundle_catalog import find_bundles


def names(path):
    return [bundle.manifest.name for bundle in find_bundles(path)]


def test_a_bundle_a_version_of_it_or_a_folder_of_bundles(tmp_path):
    directory = tiny_bundle()
    assert names(directory) == ["bpe"]
    assert names(directory / "1") == ["bpe"]
    for name in ("b", "a"):
        shutil.copytree(directory, tmp_path / name)
    (tmp_path / "c").mkdir()
    assert [bundle.directory.parent.name for bundle in find_bundles(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("folder", [".", "missing"])
def test_no_bundle(tmp_path, folder):
    with pytest.raises(BundleNotFoundError, match=str(tmp_path)):
        find_bundles(tmp_path / folder)
