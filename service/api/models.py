"""``GET /v1/models`` and ``GET /v1/models/{id}``."""

from __future__ import annotations

from flask import Blueprint, Response

from service.api.json_answer import json_answer
from service.front import Front


def models_blueprint(front: Front) -> Blueprint:
    """The endpoints over ``front``."""
    blueprint = Blueprint("models", __name__)

    @blueprint.get("/v1/models", provide_automatic_options=False)
    def list_models() -> Response:
        data = [model.describe() for model in front.models]
        return json_answer({"object": "list", "data": data})

    @blueprint.get("/v1/models/<name>", provide_automatic_options=False)
    def show_model(name: str) -> Response:
        return json_answer(front.models.find(name).describe())

    return blueprint
