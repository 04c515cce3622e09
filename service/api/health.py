"""Whether the service lives and is ready, its version, and a page naming the endpoints."""

from __future__ import annotations

import html

from flask import Blueprint, Response, current_app

from service.api.json_answer import json_answer
from service.front import Front
from service.version import API_VERSION, VERSION

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Foretoken</title>
<h1>Foretoken</h1>
<p>Text completions from the model <b>{name}</b>. How to ask for them:
<a href="/docs">/docs</a>.</p>
<ul>
{endpoints}
</ul>
</html>
"""


def health_blueprint(front: Front) -> Blueprint:
    """The endpoints over ``front``; none of them waits for anything."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/health", provide_automatic_options=False)
    def health() -> Response:
        return json_answer({"status": "ok"})

    @blueprint.get("/ready", provide_automatic_options=False)
    def ready() -> Response:
        front.check_open()
        for model in front.models:
            model.check_ready()
        model = front.models.default
        statuses = model.engines.status()
        return json_answer(
            {
                "status": "ready",
                "model": model.id,
                "version": model.version,
                "running": sum(status.running for status in statuses),
                "waiting": sum(status.waiting for status in statuses),
            }
        )

    @blueprint.get("/version", provide_automatic_options=False)
    def version() -> Response:
        model = front.models.default
        return json_answer(
            {
                "version": VERSION,
                "api": API_VERSION,
                "model": model.id,
                "model_version": model.version,
                "system_fingerprint": model.fingerprint,
            }
        )

    @blueprint.get("/", provide_automatic_options=False)
    def index() -> Response:
        rules = sorted(current_app.url_map.iter_rules(), key=lambda rule: rule.rule)
        lines = [
            f"<li><code>{html.escape(method)} {html.escape(rule.rule)}</code></li>"
            for rule in rules
            for method in sorted((rule.methods or set()) - {"HEAD"})
        ]
        page = _PAGE.format(name=html.escape(front.models.default.id), endpoints="\n".join(lines))
        return Response(page, mimetype="text/html")

    return blueprint
