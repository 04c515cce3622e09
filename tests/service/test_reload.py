"""Another version without a pause: what is asked for, what runs where, what cannot be loaded."""

import hashlib
import json
import os
import re
import shutil
import signal
import threading
from pathlib import Path

import pytest
import requests
from running_service import running_service, wait_until
from tiny_bundle import publish_tiny_bundle

from model.bundle.publish import publish

NUM_ENGINES = 2
#: Of an answer that is still on its way when a reload is over.
NUM_TOKENS = 40_000
ADMIN = {"Authorization": "Bearer a"}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """A folder with version 1 of a bundle, and a directory with what becomes version 2."""
    folder = tmp_path_factory.mktemp("reload")
    publish_tiny_bundle(folder / "bundles", "tiny")
    newer = publish_tiny_bundle(folder / "newer", "tiny", vocab_size=310) / "1"
    return folder / "bundles", newer


@pytest.fixture(scope="module")
def served(bundles):
    flags = ("--admin-key", "a", "--workers", "2", "--engines", str(NUM_ENGINES))
    flags += ("--max-tokens", str(NUM_TOKENS))
    with running_service(bundles[0] / "tiny", *flags) as service:
        yield service


def reload(service, **fields):
    return requests.post(
        service.url + "/admin/reload", json=fields or None, headers=ADMIN, timeout=60
    )


def statuses(service):
    listed = service.get("/admin/models", headers=ADMIN).json()
    assert listed["object"] == "list"
    for entry in listed["data"]:
        assert list(entry) == ["model", "version", "status", "created", "digest", "bytes"]
    return {entry["version"]: entry["status"] for entry in listed["data"]}


def versions_answering(service):
    """From answers on connections of their own, so that both workers give some."""
    return {
        requests.post(service.url + "/v1/completions", json={"max_tokens": 1}, timeout=60).headers[
            "foretoken-model"
        ]
        for _ in range(12)
    }


def engines(service):
    """How many processes of the service are engines; retired ones are gone after a while."""
    count = 0
    for entry in Path("/proc").iterdir():
        try:
            name, rest = (entry / "stat").read_text().split(" (", 1)[1].rsplit(") ", 1)
        except (OSError, IndexError):
            continue
        count += rest.split()[1] == str(service.process.pid) and name.startswith("engine")
    return count


def test_nothing_newer(served):
    answer = reload(served)
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == [
        "object", "model", "previous_version", "version", "changed", "duration_ms",
    ]  # fmt: skip
    assert (body["object"], body["model"], body["version"]) == ("reload", "tiny", "1")
    assert (body["previous_version"], body["changed"]) == ("1", False)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"version": "7"}, 422, "model_load_failed"),
        ({"version": "../tiny/1"}, 422, "model_load_failed"),
        ({"version": 2}, 400, "invalid_type"),
        ({"model": "other"}, 404, "model_not_found"),
    ],
)
def test_what_cannot_be(served, fields, status, code):
    answer = reload(served, **fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_the_new_version_answers_and_old_requests_finish_on_the_old(served, bundles):
    folder, newer = bundles
    state = served.complete(prompt="In", max_tokens=0, return_state=True)["choices"][0]["state"]
    publish(newer, folder, "tiny")
    assert statuses(served) == {"1": "active", "2": "available"}
    long_answers = []
    body = {"max_tokens": NUM_TOKENS, "ignore_eos": True, "n": 8, "seed": 1}

    def ask():
        url = served.url + "/v1/completions"
        long_answers.append(requests.post(url, json=body, timeout=60))

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: served.load()[0] == 8, "the long request runs")
    answer = reload(served)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["previous_version"], answer.json()["version"]) == ("1", "2")
    assert answer.json()["changed"] is True
    assert versions_answering(served) == {"tiny@2"}
    if thread.is_alive():
        assert statuses(served) == {"1": "draining", "2": "active"}
    thread.join()
    assert long_answers[0].status_code == 200
    assert long_answers[0].headers["foretoken-model"] == "tiny@1"
    assert long_answers[0].json()["usage"]["completion_tokens"] == 8 * NUM_TOKENS
    wait_until(lambda: engines(served) == NUM_ENGINES, "the old engine has ended")
    assert statuses(served) == {"1": "available", "2": "active"}
    stale = served.post("/v1/next", {"state": state})
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "stale_state")
    assert {"version 1", "version 2"} <= set(
        re.findall(r"version \d", stale.json()["error"]["message"])
    )
    assert stale.headers["x-should-retry"] == "false"


def test_one_reload_at_a_time(served):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(reload(served, version="1")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcomes = sorted(answer.status_code for answer in answers)
    assert outcomes[0] == 200
    assert set(outcomes) <= {200, 409}
    changed = [answer for answer in answers if answer.ok and answer.json()["changed"]]
    assert len(changed) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["error"]["code"] == "reload_in_progress"
            assert answer.headers["x-should-retry"] == "false"
    assert versions_answering(served) == {"tiny@1"}


def test_restarted_processes_serve_what_was_served_last(served):
    assert reload(served).json()["version"] == "2"
    http_server = served.children()["HTTP server"]
    for worker in served.children(of=http_server).values():
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: "engine tiny" in served.children(), "the engine has a name")
    os.kill(served.children()["engine tiny"], signal.SIGKILL)

    def answers_again():
        try:
            return versions_answering(served)
        except (requests.ConnectionError, KeyError):
            return None

    assert wait_until(answers_again, "workers are back") == {"tiny@2"}
    wait_until(lambda: requests.get(served.url + "/ready", timeout=60).ok, "the engine is back")


def test_a_version_that_answers_otherwise_than_recorded(served, bundles):
    folder, newer = bundles
    wrong = folder / "tiny" / "3"
    shutil.copytree(newer, wrong)
    manifest = json.loads((wrong / "bundle.json").read_text())
    manifest["self_check"]["logits"][0] += 1.0
    (wrong / "bundle.json").write_text(json.dumps(manifest))
    digest = hashlib.sha256((wrong / "bundle.json").read_bytes()).hexdigest()
    sums = (wrong / "SHA256SUMS").read_text().splitlines()
    lines = [f"{digest}  bundle.json" if line.endswith(" bundle.json") else line for line in sums]
    (wrong / "SHA256SUMS").write_text("".join(f"{line}\n" for line in lines))
    answer = reload(served, version="3")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "model_load_failed")
    assert "otherwise than recorded" in answer.json()["error"]["message"]
    wait_until(
        lambda: statuses(served) == {"1": "available", "2": "active", "3": "failed"},
        "the versions are as they were",
    )
    assert versions_answering(served) == {"tiny@2"}
    wait_until(lambda: engines(served) == NUM_ENGINES, "the engine that failed is gone")
    shutil.rmtree(wrong)


def test_a_damaged_version(served, bundles):
    folder, _ = bundles
    (folder / "tiny" / "1" / "network.tflite").write_bytes(b"rubbish")
    answer = reload(served, version="1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "model_load_failed")
    assert str(folder) not in answer.text
    wait_until(
        lambda: statuses(served) == {"1": "failed", "2": "active"}, "the versions are as they were"
    )
    assert versions_answering(served) == {"tiny@2"}
    text = served.get("/metrics").text
    assert 'foretoken_model_reloads_total{result="success"} 3.0' in text
    assert 'foretoken_model_reloads_total{result="unchanged"}' in text
