import numpy as np
import pytest

from model.bundle.self_check import make_self_check, run_self_check
from model.config import ModelConfig
from model.errors import SelfCheckError
from model.state import FloatArray, IntArray


class CountingRuntime:
    """A runtime whose logits depend on all tokens read so far: exact, and easy to disturb."""

    def __init__(self, vocab_size: int, disturbance: float = 0.0) -> None:
        self.config = ModelConfig(vocab_size=vocab_size, cell="gru", hidden_size=2)
        self.disturbance = disturbance

    def initial_state(self, batch_size: int) -> FloatArray:
        return np.zeros((batch_size, 2), np.float32)

    def prefill(self, token_ids: IntArray, state: FloatArray) -> FloatArray:
        for column in token_ids.T:
            state = state * 0.5 + column[:, None].astype(np.float32)
        return state

    def step(self, token_ids: IntArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        state = self.prefill(token_ids[:, None], state)
        return self.logits(state), state

    def logits(self, state: FloatArray) -> FloatArray:
        tokens = np.arange(self.config.vocab_size, dtype=np.float32)
        return np.sin(state[:, :1] + tokens).astype(np.float32) + np.float32(self.disturbance)


@pytest.mark.parametrize("prompt", [[3], [0, 1, 2], list(range(30))])
@pytest.mark.parametrize("vocab_size", [40, 5000])
def test_the_runtime_that_made_the_record_passes(vocab_size: int, prompt: list[int]) -> None:
    runtime = CountingRuntime(vocab_size)
    record = make_self_check(runtime, prompt)
    assert len(record.token_ids) == 16
    assert run_self_check(runtime, record) == 0.0


def test_the_likeliest_tokens_are_recorded_with_their_logits() -> None:
    runtime = CountingRuntime(100)
    record = make_self_check(runtime, [4, 2])
    logits = runtime.logits(np.float32([[4 * 0.5 + 2] * 2]))[0]
    assert set(record.token_ids) == set(np.argsort(logits)[-16:].tolist())
    np.testing.assert_array_equal(logits[list(record.token_ids)], np.float32(record.logits))


def test_a_small_vocabulary_is_recorded_whole() -> None:
    record = make_self_check(CountingRuntime(5), [1])
    assert sorted(record.token_ids) == [0, 1, 2, 3, 4]


def test_differences_are_measured_and_bounded() -> None:
    record = make_self_check(CountingRuntime(50), [1, 2], tolerance=0.1)
    assert run_self_check(CountingRuntime(50, 0.09), record) == pytest.approx(0.09, abs=1e-6)
    with pytest.raises(SelfCheckError, match=r"logit of token \d+ is .* tolerance 0\.1"):
        run_self_check(CountingRuntime(50, 0.11), record)
    with pytest.raises(SelfCheckError):
        run_self_check(CountingRuntime(50, -0.11), record)


@pytest.mark.parametrize("disturbance", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused(disturbance: float) -> None:
    record = make_self_check(CountingRuntime(50), [1])
    with pytest.raises(SelfCheckError, match="not finite"):
        run_self_check(CountingRuntime(50, disturbance), record)
    with pytest.raises(SelfCheckError, match="not finite"):
        make_self_check(CountingRuntime(50, disturbance), [1])


def test_a_network_of_another_vocabulary_is_refused() -> None:
    class Mismatched(CountingRuntime):
        def logits(self, state: FloatArray) -> FloatArray:
            return super().logits(state)[:, :-1]

    record = make_self_check(CountingRuntime(50), [1])
    with pytest.raises(SelfCheckError, match=r"shape \(1, 49\); expected \(1, 50\)"):
        run_self_check(Mismatched(50), record)


def test_reading_the_prompt_in_the_wrong_order_is_noticed() -> None:
    record = make_self_check(CountingRuntime(50), [1, 2, 3])
    swapped = record.model_copy(update={"prompt_token_ids": (2, 1, 3)})
    with pytest.raises(SelfCheckError):
        run_self_check(CountingRuntime(50), swapped)
