"""One running service that the tests here share."""

import pytest
from running_service import running_service
from tiny_bundle import publish_tiny_bundle, tiny_bundle

KINDS = ("bpe", "char", "word")


@pytest.fixture(scope="session")
def service():
    """A service with a tiny real bundle, byte-level BPE, limits as by default."""
    with running_service(tiny_bundle()) as service:
        yield service


@pytest.fixture(scope="session")
def service_of_all_kinds(tmp_path_factory):
    """Tiny models of every kind of tokenizer, named for it; two HTTP workers."""
    bundles = tmp_path_factory.mktemp("kinds") / "bundles"
    for kind in KINDS:
        publish_tiny_bundle(bundles, kind, kind=kind)
    with running_service(bundles, "--workers", "2") as service:
        yield service
