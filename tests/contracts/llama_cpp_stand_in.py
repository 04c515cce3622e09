#!/usr/bin/env python3
"""Speaks as much of llama.cpp's server as the benchmark uses, and checks what it is asked."""

import argparse
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        assert self.path == "/health"
        ready = time.monotonic() > READY_AT
        self.answer({"status": "ok" if ready else "loading"}, 200 if ready else 503)

    def do_POST(self):
        assert self.path == "/completion"
        fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert fields["prompt"] and fields["ignore_eos"] and not fields["cache_prompt"]
        time.sleep(0.005)
        content = " x" * fields["n_predict"]
        self.answer({"content": content, "tokens_predicted": fields["n_predict"], "stop": True})

    def answer(self, fields, status=200):
        body = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 64


parser = argparse.ArgumentParser()
parser.add_argument("--model", type=Path)
parser.add_argument("--host")
for flag in ("--port", "--parallel", "--ctx-size", "--threads"):
    parser.add_argument(flag, type=int)
options = parser.parse_args()
if not options.model.exists():
    raise SystemExit(1)
READY_AT = time.monotonic() + 0.2
Server((options.host, options.port), Handler).serve_forever()
