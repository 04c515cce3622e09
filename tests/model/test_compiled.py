"""What is compiled holds no reduction: two threads at once can end the process in XLA's."""

import pytest
import tensorflow as tf

from model.network import output
from model.network.cells.lstm_arithmetic import lstm_arithmetic
from model.network.compiled import compiled

GATES, WIDTH = tf.zeros([32, 6], tf.bfloat16), tf.zeros([8, 6])
NARROW = tf.cast(WIDTH, tf.bfloat16)
KEPT = [tf.zeros([32, 6]), WIDTH, WIDTH]
LSTM = lstm_arithmetic(tf.bfloat16)


def optimized_operations(function, *arguments):
    return function.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (LSTM.step, (GATES, WIDTH)),
        (LSTM.back, (KEPT, NARROW, NARROW, WIDTH)),
        (output._folded_maxima, (GATES,)),
        (output._exponentials_above, (GATES, tf.zeros([6]))),
    ],
)
def test_only_elementwise_arithmetic_is_compiled(function, arguments):
    operations = optimized_operations(function, *arguments)
    assert "fusion" in operations
    assert "reduce" not in operations
    assert "ynn" not in operations


def test_a_reduction_would_be_seen():
    operations = optimized_operations(compiled(lambda rows: tf.reduce_sum(rows, axis=0)), WIDTH)
    assert "reduce" in operations or "ynn" in operations
