"""What ``/metrics`` says after requests to several workers."""

import json
import time

import pytest
import requests
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.parser import text_string_to_metric_families
from running_service import running_service, wait_until
from tiny_bundle import tiny_bundle

from service.api.metrics import WorkersCollector

COUNTERS = {
    "foretoken_requests": ("endpoint", "status"),
    "foretoken_requests_cancelled": (),
    "foretoken_requests_rejected": ("reason",),
    "foretoken_prompt_tokens": (),
    "foretoken_generation_tokens": (),
    "foretoken_model_reloads": ("result",),
    "foretoken_state_cache_lookups": (),
    "foretoken_state_cache_hits": (),
    "foretoken_cached_prompt_tokens": (),
}
GAUGES = {
    "foretoken_requests_running": (),
    "foretoken_requests_waiting": (),
    "foretoken_model_info": ("model", "version"),
}
HISTOGRAMS = {
    "foretoken_request_duration_seconds": ("endpoint",),
    "foretoken_queue_time_seconds": (),
    "foretoken_time_to_first_token_seconds": (),
    "foretoken_time_per_output_token_seconds": (),
    "foretoken_request_prompt_tokens": (),
    "foretoken_request_generation_tokens": (),
    "foretoken_batch_size": (),
}


@pytest.fixture(scope="module")
def two_workers():
    flags = ["--workers", "2", "--admin-key", "a", "--max-running", "1", "--max-queue", "0"]
    with running_service(tiny_bundle(), *flags) as service:
        yield service


def families(service):
    text = requests.get(service.url + "/metrics", timeout=60).text
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(service, name, **labels):
    return sum(
        sample.value
        for family in families(service).values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_every_worker_tells_the_same_sums(two_workers):
    for number in range(1, 13):  # each on a connection of its own: both workers answer some
        body = {"prompt": [10] * number, "max_tokens": 3, "ignore_eos": True, "stream": number > 6}
        url = two_workers.url + "/v1/completions"
        wait_until(
            lambda url=url, body=body: requests.post(url, json=body, timeout=60).ok, "there is room"
        )
    wait_until(
        lambda: value(two_workers, "foretoken_generation_tokens_total") == 36, "all is counted"
    )
    assert value(two_workers, "foretoken_prompt_tokens_total") == sum(range(1, 13))
    done = {"endpoint": "/v1/completions", "status": "200"}
    for _ in range(6):
        assert value(two_workers, "foretoken_requests_total", **done) == 12
        assert value(two_workers, "foretoken_request_prompt_tokens_count") == 12
        assert value(two_workers, "foretoken_request_generation_tokens_sum") == 36
        assert value(two_workers, "foretoken_time_to_first_token_seconds_count") == 12
        assert value(two_workers, "foretoken_time_per_output_token_seconds_count") == 12


def test_a_file_that_a_worker_has_only_just_made_is_left_out(tmp_path):
    """Opened, but without a size yet; one killed at that moment leaves it so for good."""
    (tmp_path / "counter_1.db").touch()
    assert list(WorkersCollector(tmp_path).collect()) == []
    counted = MmapedDict(str(tmp_path / "counter_2.db"))
    counted.write_value(json.dumps(["asked", "asked_total", {}, "help"]), 3.0, 0.0)
    counted.close()
    (family,) = WorkersCollector(tmp_path).collect()
    assert [sample.value for sample in family.samples] == [3.0]


def test_refused_and_unknown(two_workers):
    requests.post(two_workers.url + "/v1/secret-text", json={}, timeout=60)
    url = two_workers.url + "/v1/completions"
    long = {"max_tokens": 4096, "ignore_eos": True, "stream": True}
    with requests.post(url, json=long, stream=True, timeout=60) as running:  # in the only place
        assert next(running.iter_lines()).startswith(b"data: ")
        assert requests.post(url, json={}, timeout=60).status_code == 503
    requests.get(two_workers.url + "/v1/models/secret-text", timeout=60)
    requests.post(two_workers.url + "/admin/reload", timeout=60)
    assert value(two_workers, "foretoken_requests_total", endpoint="unknown", status="404") == 1
    assert value(two_workers, "foretoken_requests_total", endpoint="/v1/models/{name}") == 1
    assert value(two_workers, "foretoken_requests_rejected_total", reason="overloaded") >= 1
    assert value(two_workers, "foretoken_requests_rejected_total", reason="invalid_api_key") == 1
    assert "secret" not in requests.get(two_workers.url + "/metrics", timeout=60).text


@pytest.mark.parametrize("stream", [False, True])
def test_cancelled_requests_and_gauges(two_workers, stream):
    before = value(two_workers, "foretoken_requests_cancelled_total")
    body = {"max_tokens": 4096, "ignore_eos": True, "stream": stream, "logprobs": 20}
    wait_until(lambda: value(two_workers, "foretoken_requests_running") == 0, "it is idle")
    with requests.Session() as client, pytest.raises(requests.RequestException):
        answer = client.post(
            two_workers.url + "/v1/completions", json=body, stream=True, timeout=(60, 0.2)
        )
        next(answer.iter_content(64))
        time.sleep(0.1)
        answer.close()
        raise requests.RequestException
    wait_until(
        lambda: value(two_workers, "foretoken_requests_cancelled_total") == before + 1,
        "the cancelled request is counted",
    )


def test_prompts_begun_from_a_kept_state_are_counted(two_workers):
    body = {"prompt": "a prompt that is sent twice", "max_tokens": 1}

    def counted():
        names = ("state_cache_lookups", "state_cache_hits", "cached_prompt_tokens")
        return [value(two_workers, f"foretoken_{name}_total") for name in names]

    before = counted()
    for _ in range(2):
        answer = requests.post(two_workers.url + "/v1/completions", json=body, timeout=60).json()
    num_tokens = answer["usage"]["prompt_tokens"]
    expected = [before[0] + 2, before[1] + 1, before[2] + num_tokens]
    wait_until(lambda: counted() == expected, f"{before} becomes {expected}, not {counted()}")


def test_names_kinds_and_labels(two_workers):
    found = families(two_workers)
    for expected, kind in ((COUNTERS, "counter"), (GAUGES, "gauge"), (HISTOGRAMS, "histogram")):
        for name, labels in expected.items():
            assert found[name].type == kind
            assert found[name].documentation
            for sample in found[name].samples:
                assert set(sample.labels) - {"le"} == set(labels)
    assert set(found) == {*COUNTERS, *GAUGES, *HISTOGRAMS}
    assert value(two_workers, "foretoken_model_info", model="bpe", version="1") == 1
    steps = value(two_workers, "foretoken_batch_size_count")
    assert steps == value(two_workers, "foretoken_batch_size_bucket", le="1.0") >= 36
