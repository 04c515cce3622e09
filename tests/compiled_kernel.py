"""The compiled passes over the vocabulary, for the tests that need them."""

import pytest

from model.kernel.build import NoCompilerError, build
from model.kernel.library import Kernel


def compiled_kernel():
    """Compiled if need be; skips the test where there is no compiler."""
    try:
        return Kernel(build())
    except NoCompilerError as error:
        pytest.skip(str(error))
