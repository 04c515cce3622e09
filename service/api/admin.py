"""``GET /admin/models`` and ``POST /admin/reload``."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from pathlib import Path

from flask import Blueprint, Response, g, request

from model.bundle.checksums import CHECKSUMS_FILE
from model.bundle.load import load_bundle
from model.bundle.manifest import read_manifest
from model.bundle.versions import CURRENT_FILE, read_current, versions_in
from model.errors import ForetokenError
from model.tokenizers.tokenizer import Tokenizer
from service.api.intake import read_json_body
from service.api.json_answer import json_answer
from service.errors import ApiError, shown
from service.front import Front
from service.metrics import count_reload
from service.model_table import ReloadOrder, place_order, read_order, read_table, take_answer
from service.protocol.admin import AdminModel, AdminModelList, Reload, ReloadRequest, VersionStatus
from service.protocol.parse import parse_request
from service.served_model import ServedModel

logger = logging.getLogger(__name__)

_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_POLL_SECONDS = 0.02
#: Longer than the supervisor takes for any order, failed ones included.
_ANSWER_SECONDS = 180.0


def admin_blueprint(front: Front) -> Blueprint:
    """The endpoints over ``front``; the front door has asked for the admin key."""
    blueprint = Blueprint("admin", __name__)

    @blueprint.get("/admin/models", provide_automatic_options=False)
    def list_versions() -> Response:
        data = [entry for model in front.models for entry in _versions(front, model)]
        return json_answer(AdminModelList(data=data).model_dump())

    @blueprint.post("/admin/reload", provide_automatic_options=False)
    def reload() -> Response:
        began_at = time.monotonic()
        body = _read_request(front)
        front.check_open()
        try:
            model = front.models.find(body.model)
            version = _change(front, model, body.version)
        except ApiError as error:
            count_reload("refused" if error.code == "reload_in_progress" else "failed")
            raise
        count_reload("unchanged" if version == model.version else "success")
        answer = Reload(
            model=model.id,
            previous_version=model.version,
            version=version,
            changed=version != model.version,
            duration_ms=round(1000 * (time.monotonic() - began_at)),
        )
        return json_answer(answer.model_dump())

    return blueprint


def _read_request(front: Front) -> ReloadRequest:
    """The request; without a body, one that leaves everything to us."""
    is_empty = request.content_length in (None, 0) and not request.headers.get("Transfer-Encoding")
    body = {} if is_empty else read_json_body(front)
    strict = request.headers.get("foretoken-strict", "").strip().lower() == "true"
    parsed = parse_request(ReloadRequest, body, front.settings.limits(), strict=strict)
    g.ignored_fields = parsed.ignored_header()
    return parsed.request


def _change(front: Front, model: ServedModel, wanted: str | None) -> str:
    """Has ``model`` served in version ``wanted``, or the published one; returns the version."""
    if read_order(front.runtime_directory) is not None:
        raise _in_progress()
    version = _published(model) if wanted is None else wanted
    if version == model.version:
        return version
    try:
        directory = _check_bundle(model, version)
        order = place_order(front.runtime_directory, model.id, directory)
        if order is None:
            raise _in_progress()
        _await_answer(front, order, f"version {version} of {model.id}")
    except ApiError as error:
        if error.code == "model_load_failed" and _VERSION.fullmatch(version):
            _failure_mark(front, model, version).touch()
        raise
    _failure_mark(front, model, version).unlink(missing_ok=True)
    front.follow_reloads()
    return version


def _published(model: ServedModel) -> str:
    """The version that CURRENT names; the one served, where nothing is published."""
    directory = model.bundle.directory.parent
    if not (directory / CURRENT_FILE).exists():
        return model.version
    try:
        return str(read_current(directory))
    except ForetokenError as error:
        logger.error("reload failed: %s", error)
        raise _failed(f"it cannot be told which version of {model.id} is published") from error


def _check_bundle(model: ServedModel, version: str) -> Path:
    """The directory of a version, all of whose files are as they were published."""
    parent = model.bundle.directory.parent
    if not _VERSION.fullmatch(version) or int(version) not in versions_in(parent):
        there = ", ".join(map(str, versions_in(parent)))
        raise _failed(f"there is no version {shown(version)} of {model.id}; there are: {there}")
    try:
        bundle = load_bundle(parent / version)
        Tokenizer.load(bundle.tokenizer_path)
    except ForetokenError as error:
        logger.error("reload failed: %s", error)
        raise _failed(
            f"version {version} of {model.id} is damaged or was made by a newer program; "
            "the log says more"
        ) from error
    if bundle.manifest.name != model.id:
        raise _failed(f"version {version} calls itself {shown(bundle.manifest.name)}")
    return bundle.directory


def _await_answer(front: Front, order: ReloadOrder, name: str) -> None:
    deadline = time.monotonic() + _ANSWER_SECONDS
    while (answer := take_answer(front.runtime_directory, order)) is None:
        if time.monotonic() > deadline:
            raise ApiError("engine_unavailable", "the supervisor does not answer")
        time.sleep(_POLL_SECONDS)
    (failure,) = answer
    if failure is not None:
        raise _failed(f"{name} cannot be served: {failure}")


def _in_progress() -> ApiError:
    return ApiError("reload_in_progress", "another reload is going on; wait until it has ended")


def _failed(message: str) -> ApiError:
    return ApiError("model_load_failed", f"{message}. Nothing has changed", param="version")


def _failure_mark(front: Front, model: ServedModel, version: str) -> Path:
    return front.runtime_directory / f"failed-{model.id}-{version}"


def _versions(front: Front, model: ServedModel) -> list[AdminModel]:
    """Every version of ``model`` on disk, and the one served."""
    served = model.bundle.directory
    directories = {served.parent / str(number) for number in versions_in(served.parent)}
    return [
        _describe(front, model, directory)
        for directory in sorted(directories | {served}, key=lambda path: (len(path.name), path))
    ]


def _describe(front: Front, model: ServedModel, directory: Path) -> AdminModel:
    version = model.version if directory == model.bundle.directory else directory.name
    files = [path.stat() for path in directory.iterdir() if path.is_file()]
    status = _status(front, model, directory, version)
    try:
        created = int(read_manifest(directory).created)
        digest = hashlib.sha256((directory / CHECKSUMS_FILE).read_bytes()).hexdigest()
    except (ForetokenError, OSError):
        created, digest, status = int(directory.stat().st_mtime), "", "failed"
    return AdminModel(
        model=model.id,
        version=version,
        status=status,
        created=created,
        digest=digest,
        bytes=sum(file.st_size for file in files),
    )


def _status(front: Front, model: ServedModel, directory: Path, version: str) -> VersionStatus:
    if directory == model.bundle.directory:
        return "active"
    table = read_table(front.runtime_directory)
    if table is not None and str(directory) in table.draining:
        return "draining"
    return "failed" if _failure_mark(front, model, version).exists() else "available"
