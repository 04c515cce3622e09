"""``python -m model.bundle``: look after published bundles where only the service is installed.

python -m model.bundle verify bundles/travel          every checksum, then what it is
python -m model.bundle versions bundles/travel        all versions, * before the one served
python -m model.bundle rollback bundles/travel [2]    serve the version before, or that one
python -m model.bundle publish /tmp/export bundles/travel     take in a bundle made elsewhere
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model.bundle.load import load_bundle
from model.bundle.publish import publish, rollback
from model.bundle.versions import read_current, versions_in
from model.errors import BundleNotFoundError, ForetokenError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        for line in given.run(given):
            print(line)
    except ForetokenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.bundle", description="Looks after published bundles."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    verify = commands.add_parser("verify", help="check every file, then say what the bundle is")
    verify.set_defaults(run=_verify)
    versions = commands.add_parser("versions", help="list the versions, * before the one served")
    versions.set_defaults(run=_versions)
    back = commands.add_parser("rollback", help="serve the version before the current, or VERSION")
    back.set_defaults(run=_rollback)
    into = commands.add_parser("publish", help="copy the bundle in SOURCE, and serve it")
    into.set_defaults(run=_publish)

    into.add_argument("source", type=Path, metavar="SOURCE", help="a finished bundle's directory")
    for command in (verify, versions, back, into):
        command.add_argument("bundle", type=Path, metavar="BUNDLE", help="such as bundles/travel")
    back.add_argument("version", type=int, nargs="?", metavar="VERSION")
    return parser


def _verify(given: argparse.Namespace) -> list[str]:
    bundle = load_bundle(given.bundle)
    manifest, config = bundle.manifest, bundle.config
    score = manifest.scores.int8 or manifest.scores.float32
    return [
        f"{bundle.directory} is whole",
        f"{manifest.name} version {manifest.version}: {config.cell}, "
        f"{config.num_layers} x {config.hidden_size}, {config.num_weights():,} weights, "
        f"{config.vocab_size:,} {manifest.tokenizer.kind} tokens, "
        f"{score.bits_per_byte:.3f} bits per byte",
        f"digest {bundle.digest}",
    ]


def _versions(given: argparse.Namespace) -> list[str]:
    versions = versions_in(given.bundle)
    if not versions:
        raise BundleNotFoundError(f"no version is published in {given.bundle}")
    current = read_current(given.bundle)
    return [f"{'*' if version == current else ' '} {version}" for version in versions]


def _rollback(given: argparse.Namespace) -> list[str]:
    path = given.bundle.absolute()
    version = rollback(path.parent, path.name, given.version)
    return [f"{given.bundle} now names version {version}; restart the service to serve it"]


def _publish(given: argparse.Namespace) -> list[str]:
    path = given.bundle.absolute()
    version = publish(given.source, path.parent, path.name)
    return [f"{given.bundle} now names version {version}; restart the service to serve it"]


if __name__ == "__main__":
    sys.exit(main())
