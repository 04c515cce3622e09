"""The contract's field tables: of every endpoint every field, with its default and its bounds.

A row says what a field is when it is left out, which values it takes, bounds included, and which
it refuses with which code.
"""

import dataclasses
from typing import Any

VOCAB_SIZE = 300
NATIVE_DIMENSIONS = 16
#: Forces the end of the document, so that a large ``max_tokens`` costs nothing.
END_AT_ONCE = {"logit_bias": {"0": 100}}

INVALID_TYPE, INVALID_VALUE = "invalid_type", "invalid_value"


class Missing:
    """The default of a field that is left out where no value says the same."""


@dataclasses.dataclass
class Row:
    """A field: its default, values it takes, and ``(value, code[, param])`` that it refuses."""

    name: str
    default: Any
    good: list[Any]
    bad: list[tuple[Any, ...]]
    along: dict[str, Any] = dataclasses.field(default_factory=dict)  # with good values
    required: bool = False


def whole(name, low, high, default=Missing, **more):
    wrong = [True, "16", 1.5, [low], {"a": low}]
    bad = [(value, INVALID_TYPE) for value in wrong]
    bad += [(low - 1, INVALID_VALUE), (high + 1, INVALID_VALUE), (10**31, INVALID_VALUE)]
    return Row(name, default, [low, high, float(low)], bad, **more)


def real(name, low, high, default, **more):
    bad = [(value, INVALID_TYPE) for value in (False, "1", [1.0], {})]
    bad += [(value, INVALID_VALUE) for value in (low - 0.001, high + 0.001, 1e308, -(10**31))]
    return Row(name, default, [low, high, (low + high) / 2], bad, **more)


def flag(name, default, **more):
    return Row(name, default, [False, True], wrong_types(0, 1, 0.0, "true", []), **more)


def choice(name, default, *others):
    bad = [*wrong_types(1, True, [default], {}), *wrong_values("", default.upper(), "x" * 5000)]
    return Row(name, default, [default, *others], bad)


def wrong_types(*values):
    return [(value, INVALID_TYPE) for value in values]


def wrong_values(*values):
    return [(value, INVALID_VALUE) for value in values]


MODEL = Row(
    "model", "bpe", [], [*wrong_types(1, True, ["bpe"], {}), *[(v, "404") for v in ("", "no")]]
)
USER = Row("user", Missing, ["", "u" * 256], [*wrong_values("u" * 257), *wrong_types(1, ["u"])])
STATES = Row(
    "state",
    Missing,
    [],
    [
        *wrong_types(1, True, {}, [1]),
        *[(state, "invalid_state", "state") for state in ("", "fts1", "fts1.AAAA.AAAA", "\ud800")],
        (["fts1.AAAA.AAAA"] * 2, INVALID_VALUE),
    ],
)


def texts(name, default=Missing, *, empty=True, **more):
    """The four forms of ``prompt``."""
    good = ["One day", ["One day", "a"], [5, 6], [[5], [6, 7]], [5.0], "\ud800", "\0\x1b", "日本語"]
    empties = ["", [""], [[]], ["", "a"], [[], [1]]]
    bad = [
        *wrong_types(1, True, 1.5, {"a": 1}),
        ([], INVALID_VALUE),
        (["a", 1], INVALID_TYPE, f"{name}[1]"),
        ([1, "a"], INVALID_TYPE, f"{name}[1]"),
        ([[1], "a"], INVALID_TYPE, f"{name}[1]"),
        (["a", [1]], INVALID_TYPE, f"{name}[1]"),
        ([None], INVALID_TYPE, f"{name}[0]"),
        ([True], INVALID_TYPE, f"{name}[0]"),
        ([1.5], INVALID_TYPE, f"{name}[0]"),
        ([[1, "2"]], INVALID_TYPE, f"{name}[0][1]"),
        ([VOCAB_SIZE], "invalid_token_id", f"{name}[0]"),
        ([0, -1], "invalid_token_id", f"{name}[1]"),
        ([[1], [10**31]], "invalid_token_id", f"{name}[1][0]"),
        (["a"] * 129, "too_many_prompts"),
        ([5] * 32769, "context_length_exceeded"),
    ]
    if empty:
        good += empties
    else:
        bad += [("", INVALID_VALUE)] + [
            (value, INVALID_VALUE, f"{name}[0]") for value in empties[1:]
        ]
    return Row(name, default, good, bad, **more)


PARSE_SPECIAL, ADD_SPECIAL = flag("parse_special", True), flag("add_special_tokens", False)
RETURN_STATE = flag("return_state", False)

COMPLETIONS = [
    MODEL,
    texts("prompt", ""),
    whole("max_tokens", 0, 4096, 16, along=END_AT_ONCE),
    real("temperature", 0, 2, 1.0),
    real("top_p", 0, 1, 1.0),
    whole("n", 1, 20, 1),
    Row(
        "best_of",
        1,
        [1, 20, 1.0],
        [*wrong_values(0, -1, 21), *wrong_types(True, "1", 1.5, [])],
    ),
    Row("stream", False, [False], wrong_types(0, 1, "true", [], {})),
    Row(
        "stream_options",
        Missing,
        [{}, {"include_usage": None}, {"other": 1}],
        [
            *wrong_types(True, "usage", [], 1),
            ({"include_usage": 1}, INVALID_TYPE, "stream_options.include_usage"),
            (
                {"continuous_usage_stats": "yes"},
                INVALID_TYPE,
                "stream_options.continuous_usage_stats",
            ),
        ],
        along={"stream": True},
    ),
    whole("logprobs", 0, 20),
    flag("echo", False),
    Row(
        "stop",
        [],
        ["x", [], ["x"], ["x" * 256] * 16, "\ud800", "\0"],
        [
            *wrong_values("", "x" * 257, ["x"] * 17),
            ([""], INVALID_VALUE, "stop[0]"),
            (["x", "y" * 257], INVALID_VALUE, "stop[1]"),
            (["x", 1], INVALID_TYPE, "stop[1]"),
            *wrong_types(1, True, {"x": 1}),
        ],
    ),
    Row("suffix", "", ["", " and walked.\n"], wrong_types(1, True, ["x"], {})),
    real("presence_penalty", -2, 2, 0),
    real("frequency_penalty", -2, 2, 0),
    Row(
        "logit_bias",
        {},
        [{}, {"5": -100}, {"5": 100}, {"5": 0, "299": 1.5}],
        [
            *wrong_types([], "5", 5, True),
            ({"5": 100.001}, INVALID_VALUE, "logit_bias.5"),
            ({"5": -100.001}, INVALID_VALUE, "logit_bias.5"),
            ({"5": "1"}, INVALID_TYPE, "logit_bias.5"),
            ({"5": True}, INVALID_TYPE, "logit_bias.5"),
            ({"5": None}, INVALID_TYPE, "logit_bias.5"),
            ({"300": 1}, "invalid_token_id", "logit_bias.300"),
            ({"-1": 1}, "invalid_token_id", "logit_bias.-1"),
            ({"a": 1}, "invalid_token_id"),
            ({"": 1}, "invalid_token_id"),
            ({str(i): 1 for i in range(1024)}, "invalid_token_id", "logit_bias.300"),
            ({str(i): 1 for i in range(1025)}, INVALID_VALUE),
        ],
    ),
    whole("seed", -(2**63), 2**63 - 1),
    USER,
    Row(
        "top_k",
        0,
        [-1, 0, 1, VOCAB_SIZE, 1.0],
        [*wrong_values(-2, VOCAB_SIZE + 1), *wrong_types(True, "1", 1.5)],
    ),
    real("min_p", 0, 1, 0),
    real("typical_p", 0, 1, 1),
    real("repetition_penalty", 0.1, 10, 1.0),
    whole("min_tokens", 0, 3, 0),
    flag("ignore_eos", False),
    Row(
        "stop_token_ids",
        [],
        [[], [5], [5.0], list(range(16))],
        [
            *wrong_values(list(range(17))),
            *wrong_types(5, "5", True, {}),
            (["5"], INVALID_TYPE, "stop_token_ids[0]"),
            ([5, True], INVALID_TYPE, "stop_token_ids[1]"),
            ([VOCAB_SIZE], "invalid_token_id", "stop_token_ids[0]"),
            ([-1], "invalid_token_id", "stop_token_ids[0]"),
        ],
    ),
    flag("include_stop_str_in_output", False),
    Row(
        "truncate_prompt_tokens",
        -1,
        [-1, 1, 32768, 10**9, 1.0],
        [*wrong_values(0, -2), *wrong_types(True, "1", 1.5, [])],
    ),
    ADD_SPECIAL,
    PARSE_SPECIAL,
    flag("skip_special_tokens", True),
    flag("return_token_ids", False),
    RETURN_STATE,
    STATES,
]

CANDIDATES_BAD = [
    *wrong_types("a", 1, True, {}),
    ([""], INVALID_VALUE, "candidates[0]"),
    (["a", "x" * 1025], INVALID_VALUE, "candidates[1]"),
    ([1], INVALID_TYPE, "candidates[0]"),
    ([None], INVALID_TYPE, "candidates[0]"),
    (["a"] * 2001, INVALID_VALUE),
]

NEXT = [
    MODEL,
    texts("prompt", ""),
    STATES,
    RETURN_STATE,
    whole("top_k", 1, 1000, 10),
    choice("unit", "token", "word"),
    Row(
        "temperature",
        1.0,
        [1e-6, 2, 1],
        [*wrong_values(0, -0.5, 2.001), *wrong_types(True, "1", [])],
    ),
    Row(
        "candidates",
        [],
        [[], ["a"], ["a", [5, 6]], ["x" * 1024], ["a"] * 2000],
        [
            *CANDIDATES_BAD,
            ([[]], INVALID_VALUE, "candidates[0]"),
            ([[VOCAB_SIZE]], "invalid_token_id", "candidates[0][0]"),
        ],
    ),
]

SCORE = [
    MODEL,
    texts("input", required=True),
    Row(
        "context",
        "",
        ["One", [5], ["One"], [[5]], "", [], [""]],
        [
            *wrong_types(1, True, {"a": 1}),
            *wrong_values(["a", "b"]),
            (["a", 1], INVALID_TYPE, "context[1]"),
            ([VOCAB_SIZE], "invalid_token_id", "context[0]"),
            (["a"] * 129, "too_many_prompts"),
            ([5] * 32769, "context_length_exceeded"),
        ],
    ),
    flag("score_first_token", False),
    whole("top_logprobs", 0, 20, 0),
    flag("per_token", True),
    STATES,
    RETURN_STATE,
    ADD_SPECIAL,
    PARSE_SPECIAL,
]

FILL = [
    MODEL,
    Row(
        "text",
        Missing,
        ["a ____ b", "____", "a_______", " ____.\n"],
        [*wrong_values("", "a", "a ___ b", "____ ____"), *wrong_types(1, True, ["____"], {})],
        required=True,
    ),
    whole("top_n", 1, 50, 5),
    whole("pool", 1, 2000, 200, along={"candidates": ["a"]}),
    Row("candidates", [], [[], ["a", "b"], ["x" * 1024]], CANDIDATES_BAD),
    whole("max_right_tokens", 0, 512, 64),
    Row(
        "blank",
        "____",
        ["*", "#" * 16],
        [*wrong_values("", "#" * 17), *wrong_types(1, True, ["#"])],
        along={"text": "a * ################ b"},
    ),
]

EXPLAIN = [
    MODEL,
    Row(
        "prompt",
        Missing,
        ["One day", "", [5, 6], [5.0]],
        [
            *wrong_types(1, True, ["a"], [[5]], {}),
            ([VOCAB_SIZE], "invalid_token_id", "prompt[0]"),
            ([5] * 32769, "context_length_exceeded"),
        ],
        required=True,
    ),
    Row(
        "target",
        Missing,
        [" day", [5], "\ud800"],
        [
            *wrong_types(1, True, ["a"], [[5]], {}),
            *wrong_values(""),
            ([VOCAB_SIZE], "invalid_token_id", "target[0]"),
        ],
    ),
    choice("unit", "word", "token"),
    choice("method", "leave_one_out"),
    whole("max_units", 1, 512, 256),
]

EMBEDDINGS = [
    MODEL,
    texts("input", empty=False, required=True),
    choice("encoding_format", "float", "base64"),
    Row(
        "dimensions",
        NATIVE_DIMENSIONS,
        [float(NATIVE_DIMENSIONS)],
        [*wrong_values(0, 15, 17, -1), *wrong_types(True, "16", 1.5)],
    ),
    USER,
    choice("pooling", "mean", "last"),
    flag("normalize", True),
]

TEXTS_BAD = [*wrong_types(1, True, {}), ([1], INVALID_TYPE, "prompt[0]"), ([], INVALID_VALUE)]
TOKENIZE = [
    MODEL,
    Row("prompt", Missing, ["", "One", ["a", ""], "\ud800", "\0"], TEXTS_BAD, required=True),
    ADD_SPECIAL,
    PARSE_SPECIAL,
    flag("return_token_strs", False),
]
DETOKENIZE = [
    MODEL,
    Row(
        "tokens",
        Missing,
        [[], [0], [5.0, 6]],
        [
            *wrong_types("a", 1, True, {}),
            (["5"], INVALID_TYPE, "tokens[0]"),
            ([1, True], INVALID_TYPE, "tokens[1]"),
            ([VOCAB_SIZE], "invalid_token_id", "tokens[0]"),
            ([1, -1], "invalid_token_id", "tokens[1]"),
        ],
        required=True,
    ),
    flag("skip_special_tokens", False),
]

#: Endpoint: its fields, and a request that is fine.
ENDPOINTS = {
    "/v1/completions": (COMPLETIONS, {"prompt": "One", "max_tokens": 3, "seed": 7}),
    "/v1/next": (NEXT, {"prompt": "One", "unit": "token"}),
    "/v1/score": (SCORE, {"input": "One day"}),
    "/v1/fill": (FILL, {"text": "a ____ b", "candidates": ["a", "bc"], "pool": 2}),
    "/v1/explain": (EXPLAIN, {"prompt": "One day", "target": " we"}),
    "/v1/embeddings": (EMBEDDINGS, {"input": "One day"}),
    "/v1/tokenize": (TOKENIZE, {"prompt": "One day<|endoftext|>"}),
    "/v1/detokenize": (DETOKENIZE, {"tokens": [0, 5, 6]}),
}
ROWS = [(path, row) for path, (rows, _) in ENDPOINTS.items() for row in rows]
