"""``python -m model.kernel.build``: compiles the passes over the vocabulary, beside their sources.

Takes a second, and nothing but a C compiler: ``$CC``, else ``cc``, ``gcc`` or ``clang``. What is
there already is not compiled again. With ``--optional`` it is no error to have no compiler.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from model.errors import ForetokenError
from model.kernel.paths import library_path, sources

_COMPILERS = ("cc", "gcc", "clang")

#: No ``-ffast-math``: sums keep their order, and numbers that are none stay so.
_FLAGS = ("-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")


class NoCompilerError(ForetokenError):
    """There is no C compiler, or it does not work."""


def build() -> Path:
    """Compiles, if that has not been done yet; returns where the library lies.

    Raises:
        NoCompilerError: there is no compiler, or it fails.
        OSError: the folder cannot be written to.
    """
    path = library_path()
    if path.exists():
        return path
    compiler = _compiler()
    with tempfile.TemporaryDirectory(prefix=".compiling-", dir=path.parent) as folder:
        new = Path(folder, path.name)
        programs = [str(path) for path in sources() if path.suffix == ".c"]
        command = [*compiler, *_FLAGS, "-o", str(new), *programs, "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise NoCompilerError(f"{compiler[0]} cannot be run: {error.strerror}") from error
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise NoCompilerError(
                f"{compiler[0]} failed{': ' + said[0] if said else ''}. "
                f"It was called as: {shlex.join(command)}"
            )
        # Whoever looks meanwhile finds nothing, or all of it.
        new.replace(path)
    for other in path.parent.glob("kernel-*.so"):
        if other != path:
            other.unlink(missing_ok=True)
    return path


def _compiler() -> list[str]:
    named = os.environ.get("CC", "").split()
    if named:
        return named
    for name in _COMPILERS:
        if found := shutil.which(name):
            return [found]
    raise NoCompilerError(
        "no C compiler found: install one (Debian and Ubuntu: apt install gcc libc6-dev), "
        "or name it in the variable CC"
    )


def main(arguments: list[str] | None = None) -> int:
    """Builds; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m model.kernel.build",
        description="Compiles the passes over the vocabulary, with which sampling is faster.",
    )
    parser.add_argument(
        "--optional", action="store_true", help="succeed without a compiler: NumPy will do"
    )
    options = parser.parse_args(arguments)
    try:
        build()
    except (NoCompilerError, OSError) as error:
        kind = "note" if options.optional else "error"
        print(f"{kind}: {error}", file=sys.stderr)
        if options.optional:
            print("Sampling will be NumPy's, which is slower.", file=sys.stderr)
        return 0 if options.optional else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
