"""A web server on the loopback that serves a few texts, and fails as a test wants it to."""

import threading
import time
from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Page:
    """What is served at one path."""

    def __init__(self, content, *, kind="text/plain", tag='"v1"', **headers):
        self.content = content.encode() if isinstance(content, str) else content
        self.kind = kind
        self.tag = tag
        self.headers = headers


class BookServer:
    """Pages by path; faults, each of which answers one request in place of the page."""

    def __init__(self):
        self.pages = {}
        self.faults = deque()
        self.requests = []
        self.url = ""

    def ranges(self):
        return [headers.get("Range") for _, headers, _ in self.requests]

    def answer(self, handler):
        self.requests.append((handler.path, dict(handler.headers), time.monotonic()))
        if self.faults:
            self.faults.popleft()(handler, self.pages.get(handler.path))
        elif handler.path in self.pages:
            serve(handler, self.pages[handler.path])
        else:
            handler.send_error(404)


def serve(handler, page, *, at_most=None, delay_seconds=0.0):
    """The page, or the range of it that is asked for; only ``at_most`` bytes of the body come."""
    start = 0
    asked = handler.headers.get("Range")
    version = handler.headers.get("If-Range")
    if asked and version in (None, page.tag):
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
    body = page.content[start:]
    if start and not body:
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(page.content)}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.send_response(206 if start else 200)
    if start:
        last = len(page.content) - 1
        handler.send_header("Content-Range", f"bytes {start}-{last}/{len(page.content)}")
    handler.send_header("Content-Type", page.kind)
    handler.send_header("Content-Length", str(len(body)))
    if page.tag:
        handler.send_header("ETag", page.tag)
    for name, value in page.headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    body = body[:at_most]
    if not delay_seconds:
        handler.wfile.write(body)
    for position in range(0, len(body), 4096) if delay_seconds else ():
        handler.wfile.write(body[position : position + 4096])
        time.sleep(delay_seconds)
    if at_most is not None:
        handler.close_connection = True


def cut_after(num_bytes):
    return lambda handler, page: serve(handler, page, at_most=num_bytes)


def status(code, **headers):
    def fault(handler, page):
        handler.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return fault


def silent(seconds):
    return lambda handler, page: time.sleep(seconds)


def dripping(seconds):
    """A byte now and then, without end."""

    def fault(handler, page):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/plain")
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                handler.wfile.write(b"x")
                handler.wfile.flush()
            except OSError:
                break
            time.sleep(0.05)
        handler.close_connection = True

    return fault


@contextmanager
def book_server():
    server = BookServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            try:
                server.answer(self)
            except OSError:
                self.close_connection = True

        def log_message(self, *arguments):
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server.url = f"http://127.0.0.1:{listener.server_port}"
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
