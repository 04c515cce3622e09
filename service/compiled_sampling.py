"""Whether tokens are drawn by the compiled passes over the vocabulary, by the settings."""

from __future__ import annotations

from model.errors import ConfigurationError
from model.kernel.library import Kernel, find_kernel
from service.settings import Settings, flag_of, variable_of


def kernel_for(settings: Settings) -> Kernel | None:
    """What draws tokens; None for NumPy. The same for the life of the service.

    Raises:
        ConfigurationError: it is asked for, and not there.
    """
    if settings.compiled_sampling == "off":
        return None
    kernel = find_kernel()
    if kernel is None and settings.compiled_sampling == "on":
        name = "compiled_sampling"
        raise ConfigurationError(
            f"{flag_of(name)} ({variable_of(name)}) is on, but there is nothing compiled that can "
            "be loaded here; make it with: python -m model.kernel.build"
        )
    return kernel
