"""The examples of the documentation: found in its pages, sent to a service, compared, written anew.

An example is a fenced block: ``sh`` with one ``curl`` to localhost:8000, or ``python``. The block
right behind it, with nothing but blank lines between, is its answer: ``json``, the events of a
stream (``text``), or what the program prints (``text``).
"""

import contextlib
import io
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("api*.md")), ROOT / "docs/migrating.md"]
DOCUMENTED_URL = "localhost:8000"

#: What differs from one run, or one version, to the next: only its type is compared.
MASKED = {
    "created",
    "digest",
    "id",
    "model_version",
    "running",
    "state",
    "system_fingerprint",
    "version",
    "waiting",
}
#: What depends on the requests before is not shown.
LEFT_OUT = {"prompt_tokens_details"}
#: Numbers are shown with so many decimals, and may differ by a little more than that.
DECIMALS = 4
TOLERANCE = 0.0006
#: Lists of numbers longer than this are vectors, of which the first are shown.
MOST_NUMBERS, NUMBERS_SHOWN = 20, 3
LINE = 128

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """One request or program, and where its answer is written in ``page``."""

    page: Path
    line: int
    language: str
    source: str
    answer: str | None
    answer_span: tuple[int, int] | None

    @property
    def name(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def request(self) -> tuple[str, str, dict[str, str], str | None]:
        """Method, path, headers and body of a ``curl``."""
        words = iter(shlex.split(self.source.replace("\\\n", " "))[1:])
        method, path, headers, body = None, "", {}, None
        for word in words:
            if word == "-X":
                method = next(words)
            elif word == "-H":
                name, _, value = next(words).partition(":")
                headers[name] = value.strip()
            elif word == "-d":
                body = next(words)
            elif not word.startswith("-"):
                path = word.removeprefix("http://").removeprefix(DOCUMENTED_URL)
        return method or ("GET" if body is None else "POST"), path, headers, body

    def run(self, url: str) -> str:
        """What the service at ``url`` answers, as the documentation shows it."""
        if self.language == "python":
            return _printed(self.source.replace(f"http://{DOCUMENTED_URL}", url))
        method, path, headers, body = self.request
        answer = requests.request(method, url + path, headers=headers, data=body, timeout=60)
        if answer.headers["Content-Type"].startswith("text/event-stream"):
            return "\n\n".join(_event_shown(event) for event in answer.text.strip().split("\n\n"))
        return layout(shown(answer.json()))


def examples(page: Path) -> list[Example]:
    """The examples of ``page``, in order."""
    text = page.read_text("utf-8")
    blocks = list(_BLOCK.finditer(text))
    found = []
    for number, block in enumerate(blocks):
        language, source = block[1], block[2]
        if not (language == "python" or (language == "sh" and source.startswith("curl "))):
            continue
        following = blocks[number + 1] if number + 1 < len(blocks) else None
        if following and text[block.end() : following.start()].strip():
            following = None
        if following and following[1] not in {"json", "text"}:
            following = None
        line = text.count("\n", 0, block.start()) + 1
        answer = following and following[2].rstrip("\n")
        span = following and following.span(2)
        found.append(Example(page, line, language, source, answer, span))
    return found


def write_answers(page: Path, url: str) -> int:
    """Asks the service at ``url`` every example of ``page`` again; returns how many changed."""
    text, num_changed = page.read_text("utf-8"), 0
    for example in reversed(examples(page)):
        if example.answer_span is not None:
            answer = example.run(url)
            num_changed += any(differences(example.answer, answer))
            start, end = example.answer_span
            text = text[:start] + answer + "\n" + text[end:]
    page.write_text(text, "utf-8")
    return num_changed


def differences(documented: str, real: str, *, values: bool = True) -> Iterator[str]:
    """Where the two answers, each as documented, differ; without ``values`` in shape only."""
    try:
        pair = [[json.loads(part) for part in _parts(answer)] for answer in (documented, real)]
    except ValueError:
        if (documented != real) if values else (not real.strip()):
            yield f"printed: {real!r}"
        return
    yield from _differences(*pair, "answer", values)


def _differences(documented, real, where: str, values: bool) -> Iterator[str]:
    if type(documented) is not type(real):
        yield f"{where}: {documented!r} is documented, {real!r} came"
    elif isinstance(documented, dict):
        if not values and "top_logprobs[" in where:
            return
        if list(documented) != list(real):
            yield f"{where}: keys {list(documented)} are documented, {list(real)} came"
            return
        for key in documented.keys() & real.keys():
            if key not in MASKED:
                yield from _differences(documented[key], real[key], f"{where}.{key}", values)
            elif type(documented[key]) is not type(real[key]):
                yield f"{where}.{key}: {documented[key]!r} is documented, {real[key]!r} came"
    elif isinstance(documented, list):
        if values and len(documented) != len(real):
            yield f"{where}: {len(documented)} are documented, {len(real)} came"
        for index, (one, other) in enumerate(zip(documented, real, strict=False)):
            yield from _differences(one, other, f"{where}[{index}]", values)
    elif values and isinstance(documented, float):
        if abs(documented - real) > TOLERANCE * max(1.0, abs(documented)):
            yield f"{where}: {documented} is documented, {real} came"
    elif values and documented != real:
        yield f"{where}: {documented!r} is documented, {real!r} came"


def shown(value):
    """``value`` as the documentation shows it: rounded, long vectors and states cut short."""
    if isinstance(value, float):
        return round(value, DECIMALS) if abs(value) >= 0.01 else float(f"{value:.3g}")
    if isinstance(value, str) and value.startswith("fts1."):
        return value[:17] + "..."
    if isinstance(value, dict):
        return {key: shown(entry) for key, entry in value.items() if key not in LEFT_OUT}
    if isinstance(value, list):
        if len(value) > MOST_NUMBERS and all(isinstance(entry, float) for entry in value):
            return [*map(shown, value[:NUMBERS_SHOWN]), "..."]
        return [shown(entry) for entry in value]
    return value


def layout(value, indent: str = "") -> str:
    """JSON, broken into lines only where one would be too long."""
    line = json.dumps(value)
    if len(indent) + len(line) <= LINE or not isinstance(value, dict | list) or not value:
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {layout(entry, inner)}" for key, entry in value.items()]
    else:
        parts = [layout(entry, inner) for entry in value]
    lines = [""]
    for part in parts:
        fits = "\n" not in part and len(inner) + len(lines[-1]) + len(part) + 2 <= LINE
        if lines[-1] and fits and "\n" not in lines[-1]:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{inner}" + f",\n{inner}".join(lines[1:]) + f"\n{indent}{closing}"


def _event_shown(event: str) -> str:
    data = event.removeprefix("data: ")
    return event if data == "[DONE]" else "data: " + json.dumps(shown(json.loads(data)))


def _parts(answer: str) -> list[str]:
    """The JSON of an answer; of a stream that of each event, those with text joined to one."""
    if not answer.startswith("data: "):
        return [answer]
    events = [event.removeprefix("data: ") for event in answer.split("\n\n")]
    assert events.pop() == "[DONE]"
    chunks = [json.loads(event) for event in events]
    writing = [chunk for chunk in chunks if chunk["choices"] and chunk["choices"][0]["text"]]
    joined = writing[0]["choices"][0]
    joined["text"] = "".join(chunk["choices"][0]["text"] for chunk in writing)
    return [json.dumps(chunk) for chunk in chunks if chunk not in writing[1:]]


def _printed(program: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(program, "example", "exec"), {"__name__": "__main__"})
    return output.getvalue().rstrip("\n")
