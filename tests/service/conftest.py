"""One running service that the tests here share."""

import pytest
from running_service import running_service
from tiny_bundle import tiny_bundle


@pytest.fixture(scope="session")
def service():
    """A service with a tiny real bundle, byte-level BPE, limits as by default."""
    with running_service(tiny_bundle()) as service:
        yield service
