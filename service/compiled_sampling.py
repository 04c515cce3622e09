"""Whether tokens are drawn by the compiled passes over the vocabulary, by the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.errors import ConfigurationError
from model.kernel.paths import library_path
from service.settings import Settings, flag_of, variable_of

if TYPE_CHECKING:
    from model.kernel.library import Kernel

_NAME = "compiled_sampling"


def check_compiled(settings: Settings) -> None:
    """Refuses settings that ask for what has not been compiled.

    Raises:
        ConfigurationError: with what to do.
    """
    if settings.compiled_sampling == "on" and not library_path().exists():
        raise _missing("nothing has been compiled")


def kernel_for(settings: Settings) -> Kernel | None:
    """What draws tokens; None for NumPy.

    Raises:
        ConfigurationError: it is asked for, and not there.
    """
    # Brings NumPy, for which the supervisor has no use.
    from model.kernel.library import find_kernel  # noqa: PLC0415

    if settings.compiled_sampling == "off":
        return None
    kernel = find_kernel()
    if kernel is None and settings.compiled_sampling == "on":
        raise _missing("nothing that can be loaded here has been compiled")
    return kernel


def _missing(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{flag_of(_NAME)} ({variable_of(_NAME)}) is on, but {what}; "
        "do that with: python -m model.kernel.build"
    )
