"""Signals become an answer; the handlers before come back."""

import os
import signal
import threading

import pytest

from training.interruption import stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_wish_to_stop_and_the_second_is_for_the_old_handler(number):
    received = []
    before = signal.signal(number, lambda *arguments: received.append(arguments[0]))
    try:
        with stop_on_signals() as should_stop:
            assert not should_stop()
            os.kill(os.getpid(), number)
            assert should_stop()
            assert received == []
            os.kill(os.getpid(), number)
            assert received == [number]
        os.kill(os.getpid(), number)
        assert received == [number, number]
    finally:
        signal.signal(number, before)


def test_in_another_thread_nothing_is_caught():
    answers = []

    def ask() -> None:
        with stop_on_signals() as should_stop:
            answers.append(should_stop())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert answers == [False]
