"""How streams are written."""

import json

from service.sse import DONE, PING, PING_AFTER_SECONDS, error_event, event, with_pings


def test_events_are_lines_of_ascii():
    assert event('{"a":1}') == b'data: {"a":1}\n\n'
    written = error_event({"error": {"message": "caf\u00e9\n"}})
    assert written.isascii()
    assert written.count(b"\n") == 2
    assert json.loads(written.removeprefix(b"data: ")) == {"error": {"message": "caf\u00e9\n"}}
    assert DONE == b"data: [DONE]\n\n"


def test_silence_is_broken_by_comments_and_only_silence():
    now = [0.0]

    def parts():
        for seconds, part in [
            (0.3, b""),
            (PING_AFTER_SECONDS - 0.4, b""),
            (0.2, b""),
            (PING_AFTER_SECONDS - 0.1, b""),
            (0.05, b"text"),
            (PING_AFTER_SECONDS - 0.1, b""),
            (0.2, b"more"),
            (3 * PING_AFTER_SECONDS, b""),
            (0.1, b""),
        ]:
            now[0] += seconds
            yield part

    assert list(with_pings(parts(), lambda: now[0])) == [PING, b"text", b"more", PING]
