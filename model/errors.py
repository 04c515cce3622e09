"""The errors of the project, as one tree. Every message is written for the person who reads it.

ForetokenError
├── ConfigurationError      a setting, flag or configuration value is wrong; names key, value, bound
├── TokenizerError          a tokenizer file is damaged, or token ids are out of range
├── BundleError             a bundle cannot be used
│   ├── BundleNotFoundError     no such name or version, or nothing published yet
│   ├── BundleCorruptError      a file is missing, truncated or altered
│   ├── BundleSchemaError       written by a newer version of the program
│   └── SelfCheckError          the runtime's answer differs from the one recorded in the bundle
├── CorpusError             a text cannot be used for training; names the file
├── FetchError              a text could not be downloaded; names it and says what to do
└── TrainingError           training cannot go on (diverged, checkpoint unusable, no room on disk)
"""


class ForetokenError(Exception):
    """Base of every error this project raises on purpose. ``str(error)`` is fit to be shown."""


class ConfigurationError(ForetokenError):
    """A setting has a value that cannot be used."""


class TokenizerError(ForetokenError):
    """A tokenizer file is damaged, or token ids lie outside the vocabulary."""


class BundleError(ForetokenError):
    """A bundle cannot be used."""


class BundleNotFoundError(BundleError):
    """There is no bundle of that name or version."""


class BundleCorruptError(BundleError):
    """A file of the bundle is missing, truncated or altered."""


class BundleSchemaError(BundleError):
    """The bundle was written by a newer version of the program."""


class SelfCheckError(BundleError):
    """The runtime's answer to the bundle's test prompt differs from the recorded one."""


class CorpusError(ForetokenError):
    """A text cannot be used for training."""


class FetchError(ForetokenError):
    """A text could not be downloaded, or not be saved."""


class TrainingError(ForetokenError):
    """Training cannot go on."""
