"""Seeded requests that no honest client sends, as bytes on the wire, and what sends them."""

import contextlib
import json
import random
import re
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

PATIENCE_SECONDS = 60.0
PATHS = (
    "/v1/completions",
    "/v1/next",
    "/v1/score",
    "/v1/fill",
    "/v1/explain",
    "/v1/embeddings",
    "/v1/tokenize",
    "/v1/detokenize",
    "/tokenize",
    "/detokenize",
    "/v1/chat/completions",
    "/admin/reload",
)
_NAMES = (
    "model prompt max_tokens temperature top_p n best_of stream stream_options logprobs echo stop "
    "suffix presence_penalty logit_bias seed user top_k min_p stop_token_ids state return_state "
    "truncate_prompt_tokens input context text prefix pool candidates blank unit target method "
    "max_units tokens content dimensions encoding_format pooling __proto__ messages guided_json"
)
NAMES = _NAMES.split()
#: The codes of status 500 and above that an overloaded service may answer with.
CODES_5XX = {"overloaded", "queue_timeout", "request_timeout"}
#: What the service may answer a request that it did understand with, besides 200.
EXPECTED = {200, 400, 401, 403, 404, 405, 413, 415, 422, 503, 504}


class Hostility:
    """Makes hostile requests, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._makers = [
            (30, self._odd_fields),
            (20, self._mutated),
            (12, self._random_bytes),
            (10, self._deep),
            (10, self._huge_number),
            (10, self._odd_framing),
            (6, self._odd_headers),
            (1, self._header_flood),
            (1, self._big_string),
        ]

    def request(self) -> tuple[bytes, bool]:
        """A request, and whether it ends within what is sent (else the sender hangs up early)."""
        weights, makers = zip(*self._makers, strict=True)
        return self._random.choices(makers, weights)[0]()

    def _post(self, body: bytes, *headers: bytes, media_type: bytes = b"application/json"):
        head = [
            b"POST " + self._random.choice(PATHS).encode() + b" HTTP/1.1",
            b"Host: x",
            b"Content-Type: " + media_type,
            b"Content-Length: %d" % len(body),
            *headers,
        ]
        return b"\r\n".join(head) + b"\r\n\r\n" + body, True

    def _value(self, depth: int = 0):
        choose = self._random
        kind = choose.randrange(12 if depth < 4 else 9)
        if kind < 3:
            return choose.choice([None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e308, 5e-324, 2**63])
        if kind == 3:
            return choose.choice([-(2**63) - 1, 10**31, 1.5, 299, 300, -300, 1e-300])
        if kind < 7:
            return self._text()
        if kind < 9:
            return choose.choice([[], {}, "", "\ud800", "\0", "<|endoftext|>", "____"])
        if kind == 9:
            return {self._text(): self._value(depth + 1) for _ in range(choose.randrange(4))}
        return [self._value(depth + 1) for _ in range(choose.randrange(5))]

    def _text(self) -> str:
        pieces = ["a", "\0", "\x7f", "\ud800", "\udfff", "\ufeff", "\u202e", "é", "\U0010ffff"]
        pieces += [
            "日本",
            "____",
            "<|endoftext|>",
            "\r\n",
            '"',
            "\\",
            "fts1.",
            "%00",
            "{{",
            "\u0300",
        ]
        return "".join(self._random.choices(pieces, k=self._random.randrange(6)))

    def _object(self) -> dict:
        names = self._random.sample(NAMES, self._random.randrange(1, 6))
        body = {"max_tokens": 1, "pool": 1} | {name: self._value() for name in names}
        body.setdefault("prompt", self._text())
        if self._random.random() < 0.3:
            body[self._text()] = self._value()
        return body

    def _odd_fields(self):
        return self._post(json.dumps(self._object()).encode())

    def _mutated(self):
        body = bytearray(json.dumps(self._object(), ensure_ascii=False).encode("utf-8", "replace"))
        for _ in range(self._random.randrange(1, 5)):
            place = self._random.randrange(len(body))
            how = self._random.randrange(4)
            if how == 0:
                body[place] = self._random.randrange(256)
            elif how == 1:
                del body[place:]
                body += b" "
            elif how == 2:
                body.insert(place, self._random.choice(b'{}[]",:\\\0\xff\xc0-e.'))
            else:
                body[place:place] = body[place : place + 20]
        return self._post(bytes(body))

    def _random_bytes(self):
        return self._post(self._random.randbytes(self._random.randrange(200)))

    def _deep(self):
        depth = self._random.choice([60, 63, 64, 65, 66, 1000, 100_000])
        opening, closing = self._random.choice([(b"[", b"]"), (b'{"a":', b"}")])
        closing = closing * depth if self._random.random() < 0.8 else b""
        return self._post(b'{"prompt":' + opening * depth + b"0" + closing + b"}")

    def _huge_number(self):
        digits = b"9" * self._random.choice([19, 31, 32, 33, 400, 5000])
        number = self._random.choice(
            [digits, b"-" + digits, digits + b".5", b"1e" + digits[:5], b"0." + digits, b"NaN"]
        )
        name = self._random.choice(NAMES).encode()
        return self._post(b'{"max_tokens":1,"pool":1,"' + name + b'":' + number + b"}")

    def _odd_framing(self):
        path = self._random.choice(PATHS).encode()
        head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        chunked = head + b"Transfer-Encoding: chunked\r\n"
        body = json.dumps(self._object()).encode()
        chunk = b"%x\r\n" % len(body) + body + b"\r\n"
        whole = [
            chunked + b"\r\n" + chunk + b"0\r\n\r\n",
            chunked + b"\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n",
            chunked + b"\r\nzz\r\n" + body + b"\r\n0\r\n\r\n",
            chunked + b"\r\n-1\r\n\r\n0\r\n\r\n",
            chunked + b"Content-Length: 5\r\n\r\n" + chunk + b"0\r\n\r\n",
            head + b"Content-Length: x\r\n\r\n",
            head + b"Content-Length: -5\r\n\r\n",
            head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + body,
            head + b"Content-Length: 99999999999999999999\r\n\r\n" + body,
            head + b"Transfer-Encoding: gzip\r\n\r\n" + body,
        ]
        broken = [
            chunked + b"\r\n" + chunk,
            chunked + b"\r\nffffff\r\n" + body,
            head + b"Content-Length: %d\r\n\r\n" % (len(body) + 50) + body,
            head + b"Content-Le",
        ]
        choice = self._random.choice([*whole, *broken])
        return choice, choice in whole

    def _odd_headers(self):
        header = self._random.choice(
            [
                b"Content-Encoding: gzip",
                b"X-Request-Id: " + b"x" * 200,
                b"X-Request-Id: \xff\xfe",
                b"foretoken-strict: true",
                b"Authorization: \xe9" + b"A" * 3000,
                b"Expect: 100-continue",
                b"Connection: close",
                b"Bad Header: x",
                b"X: a\x00b",
                b": nameless",
                b"Transfer-Encoding: chunked",
            ]
        )
        media_types = [b"application/json", b"text/plain", b"", b"a/b; charset=\xff", b"x" * 4000]
        media_type = self._random.choice(media_types)
        body = json.dumps(self._object()).encode()
        return self._post(body, header, media_type=media_type)[0], b"chunked" not in header

    def _header_flood(self):
        flood = [b"X-%d: %s" % (i, b"y" * 50) for i in range(self._random.choice([90, 101, 2000]))]
        return self._post(b"{}", *flood)

    def _big_string(self):
        size = self._random.choice([10_000, 100_000, 1_000_000, 8_388_600])
        filler = self._random.choice(["a", "\0", "日", "\ud800", "<|endoftext|>", "_"])
        text = (filler * size)[: size // len(json.dumps(filler))]
        name = self._random.choice(["prompt", "input", "text", "x"])
        return self._post(json.dumps({name: text, "max_tokens": 0}).encode())


@dataclass
class Outcome:
    """What a fuzz run saw."""

    statuses: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0


class _Line:
    """A connection that is kept as long as the service keeps it."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._address = (host, int(port))
        self._socket: socket.socket | None = None

    def exchange(self, request: bytes, whole: bool) -> bytes:
        """Sends; the answer, or nothing where the sender hung up in the middle."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, PATIENCE_SECONDS)
        with contextlib.suppress(ConnectionError):  # refused before it was all sent
            self._socket.sendall(request)
            if not whole:
                self._socket.shutdown(socket.SHUT_WR)
        answer = self._receive()
        if not whole or b"connection: close" in answer.partition(b"\r\n\r\n")[0].lower():
            self.close()
        return answer

    def _receive(self) -> bytes:
        received = b""
        while not _is_complete(received):
            part = b""
            with contextlib.suppress(ConnectionError):
                part = self._socket.recv(1 << 16)
            if not part:
                self.close()
                break
            received += part
        return received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None


def _is_complete(received: bytes) -> bool:
    received = received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if not end:
        return False
    return len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")


def fuzz(url: str, count: int, seed: int = 7, num_lines: int = 4) -> Outcome:
    """Sends ``count`` hostile requests, over so many connections at the same time."""
    with ThreadPoolExecutor(num_lines) as pool:
        share = -(-count // num_lines)
        seeds = [1000 * seed + index for index in range(num_lines)]
        outcomes = list(pool.map(lambda own_seed: _fuzz_one_by_one(url, share, own_seed), seeds))
    return Outcome(
        sum((one.statuses for one in outcomes), Counter()),
        [fault for one in outcomes for fault in one.faults],
        max(one.slowest_seconds for one in outcomes),
    )


def _fuzz_one_by_one(url: str, count: int, seed: int) -> Outcome:
    hostility, line, outcome = Hostility(seed), _Line(url), Outcome()
    for index in range(count):
        request, whole = hostility.request()
        fresh = line._socket is None
        began_at = time.monotonic()
        answer = line.exchange(request, whole)
        if not answer and not fresh and whole:  # an idle connection may end at any time
            answer = line.exchange(request, whole)
        seconds = time.monotonic() - began_at
        outcome.slowest_seconds = max(outcome.slowest_seconds, seconds)
        status, fault = _judge(answer, whole)
        outcome.statuses[status] += 1
        if fault:
            outcome.faults.append(f"{seed}/{index}: {fault}: {request[:300]!r} -> {answer[:300]!r}")
    line.close()
    return outcome


def _judge(answer: bytes, whole: bool) -> tuple[int, str]:
    """The status (0 without an answer), and what is wrong with the answer, if anything."""
    if not answer:
        return 0, "no answer" if whole else ""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(answer.split(b" ", 2)[1])
    if status not in EXPECTED:
        return status, "unexpected status"
    if b"x-request-id" not in head.lower():
        return status, "no request id"
    if status == 200:
        return status, ""
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError):
        return status, "no error envelope"
    if status >= 500 and error["code"] not in CODES_5XX:
        return status, "a failure of the service"
    if b"Traceback" in body or list(error) != ["message", "type", "param", "code"]:
        return status, "a wrong error envelope"
    return status, ""
