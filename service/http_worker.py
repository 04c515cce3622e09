"""gunicorn's threaded worker; its own refusals look like all others, and no client holds it up.

One thread accepts connections, looks which of them have sent something, and answers everyday
requests itself, as fibres (``fibres.py``). Others get a thread of a pool each, until they are
answered. gunicorn gives a new connection a thread at once: so many that send nothing would keep all
others waiting.
"""

from __future__ import annotations

import gc
import logging
import selectors
import socket
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import TConn, ThreadWorker

from service import crew
from service.engine_client.lines import Lines
from service.errors import ApiError
from service.express import is_express, is_whole, received
from service.fibres import Fibres, FibreSocket, Outcome
from service.lingering_close import LingeringClose
from service.new_id import new_id
from service.peer import STALLED_SECONDS, has_hung_up
from service.quick_refusal import QuickRefusal, asks_for_completion
from service.raw_answer import raw_answer
from service.short_request import is_short

logger = logging.getLogger(__name__)

#: Connections taken at a time, so that other workers get their share of them.
_MAX_ACCEPTED = 16
_NUM_EXPRESS_THREADS = 2
#: A request makes hundreds of objects, few of them in circles. So garbage is looked for more rarely
#: than after every 700 objects; among all of them as often as without that, for there are few once
#: those of the start are set apart.
_GARBAGE_THRESHOLDS = (5_000, 4, 4)


class HttpWorker(ThreadWorker):  # type: ignore[misc]  # untyped library
    """Answers what never becomes a request of the application: the error envelope, then the end."""

    def run(self) -> None:
        """Accepts connections and has them served, until told to stop."""
        gc.collect()
        gc.freeze()  # what there is now lives as long as the process
        gc.set_threshold(*_GARBAGE_THRESHOLDS)
        self._fibres = Fibres(self.poller)
        self._lines: Lines = self.wsgi.lines
        self._lines.attach(self.poller)
        self._lingering = LingeringClose(self.poller, self._forget_connection)
        self._express_pool = ThreadPoolExecutor(_NUM_EXPRESS_THREADS, "express")
        self._crew = crew.Crew(
            partial(self._start, self.tpool), self._drop_if_gone, self._refuse_if_full
        )
        # Of those whose turn has not come, the ones that will ask the engines for room.
        self._asking: set[Any] = set()
        super().run()

    def accept(self, listener: socket.socket) -> None:
        """Takes connections that have come; each waits until it has sent something."""
        for _ in range(_MAX_ACCEPTED):
            try:
                connection, address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            self.nr_conns += 1
            connection = FibreSocket(connection, STALLED_SECONDS)
            conn = TConn(self.cfg, connection, address, listener.getsockname())
            conn.set_timeout()
            self.pending_conns.append(conn)
            when_readable = partial(self.on_pending_socket_readable, conn)
            self.poller.register(connection, selectors.EVENT_READ, when_readable)

    def enqueue_req(self, conn: Any) -> None:  # noqa: ANN401  untyped library
        """Has a fibre or a thread serve the request that has begun to come."""
        request = received(conn.sock)
        if is_express(request):
            self._start(self._express_pool, conn)
        elif is_whole(request):
            asks_for_room = asks_for_completion(request)
            if asks_for_room and self._refuse_if_full(conn, len(self._asking)):
                return
            if is_short(request):
                handle = partial(super().handle, conn)
                self._fibres.start(handle, partial(self.finish_request, conn))
                self._lines.turn()  # what it asks of the engines they hear at once
                return
            if asks_for_room:
                self._asking.add(conn)
            self._crew.add(conn)
        else:
            self._start(self.tpool, conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Waits for what happens, and does what is to be done then."""
        seconds = self._fibres.seconds_to_next(self._lines.seconds_to_next(timeout))
        super().wait_for_and_dispatch_events(seconds)
        self._lines.turn()
        self._fibres.run_due()

    def _start(self, pool: ThreadPoolExecutor, conn: Any) -> None:  # noqa: ANN401  untyped library
        self._asking.discard(conn)
        served = pool.submit(self.handle, conn)
        served.add_done_callback(partial(self.method_queue.defer, self.finish_request, conn))

    def _drop_if_gone(self, conn: Any) -> bool:  # noqa: ANN401  untyped library
        """Closes a connection whose client has hung up without reading its answer."""
        gone = has_hung_up(conn.sock)
        if gone:
            self._asking.discard(conn)
            self._forget_connection()
            conn.close()
        return gone

    def _refuse_if_full(self, conn: Any, num_ahead: int = 0) -> bool:  # noqa: ANN401  untyped library
        """Answers a request for which there is no room: without a thread, for there are many."""
        refusal: QuickRefusal = self.wsgi.quick_refusal
        if not refusal.is_full(num_ahead) or _has_read_ahead(conn):
            return False
        request = received(conn.sock)
        refused = refusal.of(request, num_ahead)
        if refused is None:
            return False
        self._asking.discard(conn)
        try:
            conn.sock.recv(len(request))
            num_sent = conn.sock.send(refused.answer)
            served = Outcome(num_sent == len(refused.answer) and refused.keeps_connection)
        except OSError as error:
            served = Outcome(error=error)
        if not conn.initialized:
            conn.init()
        self.finish_request(conn, served)
        return True

    def handle(self, conn: Any) -> Any:  # noqa: ANN401  untyped library
        """Serves a request, in a thread of a pool."""
        crew.join(partial(self.method_queue.defer, self._crew.leave, conn))
        return super().handle(conn)

    def finish_request(self, conn: Any, fs: Future[object] | Outcome) -> None:  # noqa: ANN401  untyped library
        """Takes a connection back from who has served it."""
        self._crew.leave(conn)
        if fs.cancelled() or fs.exception() is not None or fs.result():
            super().finish_request(conn, fs)
        else:
            self._lingering.begin(conn.sock)

    def murder_pending(self) -> None:
        """Closes what has had its time; gunicorn calls it at least once a second."""
        super().murder_pending()
        self._lingering.close_expired()
        self._crew.go_on()

    def _forget_connection(self) -> None:
        self.nr_conns -= 1

    def handle_request(self, req: Any, conn: Any) -> Any:  # noqa: ANN401  untyped library
        """Serves a request; one whose body will not be read is answered with ``Connection: close``.

        Otherwise the server would hang up on a client that was promised a kept connection.
        """
        if _content_length(req.headers) > self.app.max_body_bytes:
            req.force_close()
        return super().handle_request(req, conn) and not conn.sock.closes_after_answer

    def handle_error(
        self, req: object, client: socket.socket, addr: object, exc: Exception
    ) -> None:
        """Answers a connection on which ``exc`` came up before or beside the application."""
        request_id = new_id("req")
        error = _api_error(exc)
        if error.status >= 500:
            logger.error("%s failed outside the application", request_id, exc_info=exc)
        try:
            client.sendall(_response(error, request_id))
        except OSError:
            logger.debug("%s: the client did not wait for the error", request_id)


def _has_read_ahead(conn: Any) -> bool:  # noqa: ANN401  untyped library
    """Whether the beginning of the next request is not in the socket any more."""
    return conn.parser is not None and bool(conn.parser.unreader.buf.getvalue())


def _content_length(headers: Iterable[tuple[str, str]]) -> int:
    """0 where there is none; the server has checked that it is a number."""
    return next((int(value) for name, value in headers if name == "CONTENT-LENGTH"), 0)


def _api_error(exc: Exception) -> ApiError:
    if isinstance(exc, LimitRequestLine | LimitRequestHeaders):
        return ApiError("request_too_large", "the request line or the headers are too long")
    if isinstance(exc, ParseException):
        return ApiError("invalid_value", f"the request is not valid HTTP: {str(exc)[:200]}")
    return ApiError("internal_error", "something went wrong here; the request id is in the log")


def _response(error: ApiError, request_id: str) -> bytes:
    return raw_answer(error, "Error", {"Connection": "close"}, {"x-request-id": request_id})
