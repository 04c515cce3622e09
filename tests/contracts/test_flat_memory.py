"""However long a sequence grows, it takes no more memory: neither written, nor read in pieces."""

import itertools
import json
from collections.abc import Iterator

import pytest
from running_service import PATIENCE_SECONDS, RunningService, running_service
from tiny_bundle import tiny_bundle

NUM_TOKENS = 10_000
TOKENS_BETWEEN_LOOKS = 1_000
NUM_PIECES, PIECE_TOKENS = 12, 2_000
#: What the allocator may take; keeping what each token was would take more than twice as much.
MAX_GROWTH_MB = 2.0


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with running_service(tiny_bundle(), "--max-tokens", str(NUM_TOKENS)) as service:
        yield service


def write(service: RunningService, num_tokens: int) -> Iterator[int]:
    """Streams a completion with logprobs; the number of tokens now and then, and in the end."""
    body = {"prompt": "In", "max_tokens": num_tokens, "ignore_eos": True, "stream": True}
    body |= {"seed": 1, "logprobs": 1, "stream_options": {"continuous_usage_stats": True}}
    url = service.url + "/v1/completions"
    with service.session.post(url, json=body, stream=True, timeout=PATIENCE_SECONDS) as answer:
        looked_at = now = 0
        for line in answer.iter_lines(chunk_size=4096):
            if line.startswith(b"data: {"):
                now = num_tokens_of(line)
            if now - looked_at >= TOKENS_BETWEEN_LOOKS:
                looked_at = now
                yield now
        yield now


def num_tokens_of(chunk: bytes) -> int:
    return json.loads(chunk.removeprefix(b"data: "))["usage"]["completion_tokens"]


def test_a_long_completion(service: RunningService) -> None:
    for _ in write(service, NUM_TOKENS // 2):
        pass
    before = service.resident_mb()
    looks = [(count, service.resident_mb()) for count in write(service, NUM_TOKENS)]
    assert len(looks) >= 5
    assert looks[-1][0] == NUM_TOKENS
    assert max(megabytes for _, megabytes in looks) - before < MAX_GROWTH_MB


def test_a_long_prompt_in_pieces(service: RunningService) -> None:
    ids = list(itertools.islice(itertools.cycle(range(3, 280)), PIECE_TOKENS))
    state, before = None, 0.0
    for number in range(2 * NUM_PIECES):
        body = {"prompt": ids, "state": state, "max_tokens": 0, "return_state": True}
        (choice,) = service.complete(**body)["choices"]
        state = choice["state"]
        assert choice["state_tokens"] == (number + 1) * PIECE_TOKENS
        if number == NUM_PIECES - 1:
            before = service.resident_mb()
    assert service.resident_mb() - before < MAX_GROWTH_MB
