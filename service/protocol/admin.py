"""``/admin``: the models on disk, and going over to another version."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from service.protocol.fields import String
from service.protocol.parse import Request

VersionStatus = Literal["active", "available", "draining", "failed"]


class ReloadRequest(Request):
    """Which model is to change to which version; by default the first, to the one published."""

    model: String | None = None
    version: String | None = None


class Reload(BaseModel):
    """Which version was served before, and which one is served now."""

    object: Literal["reload"] = "reload"
    model: str
    previous_version: str
    version: str
    changed: bool
    duration_ms: int


class AdminModel(BaseModel):
    """One version of a model on disk. ``bytes`` is the size of its files."""

    model: str
    version: str
    status: VersionStatus
    created: int
    digest: str
    bytes: int


class AdminModelList(BaseModel):
    """Every version of every model served."""

    object: Literal["list"] = "list"
    data: list[AdminModel]
