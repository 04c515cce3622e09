"""What a person sees of training: on a terminal, and where there is none."""

import io

import pytest

from training.progress import TrainingStatus, clock_time, training_progress


def status(share: float, **changes: object) -> TrainingStatus:
    values = {
        "share": share,
        "step": 12,
        "tokens_per_second": 12345.6,
        "loss": 1.5,
        "validation_loss": None,
        "seconds_left": None,
    }
    return TrainingStatus(**{**values, **changes})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_status_is_one_line_of_what_is_known():
    assert status(0.5).line() == "step 12 · 12,346 tokens/s · loss 1.500"
    full = status(0.5, validation_loss=1.25, seconds_left=125.0).line()
    assert full.endswith("loss 1.500 · validation 1.250 · 2:05 left")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (-3, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")],
)
def test_times_read_like_a_clock(seconds, shown):
    assert clock_time(seconds) == shown


def test_without_a_terminal_a_line_comes_at_once_then_seldom_and_at_the_end():
    stream = io.StringIO()
    with training_progress(stream) as show:
        for share in (0.1, 0.2, 0.3):
            show(status(share))
        show(status(1.0))
    lines = stream.getvalue().splitlines()
    assert [line.split(" · ")[0] for line in lines] == ["train  10%", "train 100%"]


def test_on_a_terminal_one_line_is_kept_up_to_date():
    stream = Terminal()
    with training_progress(stream) as show:
        show(status(0.42))
    assert "42 %" in stream.getvalue()
    assert "loss 1.500" in stream.getvalue()
