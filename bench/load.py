"""Clients that cost little: one process with bare sockets, and a schedule that does not wait for answers. The standard library only.

It reads one JSON object, {port, runs, step, rate, length_s}, and writes what it measured: seconds from when a request was due to its whole
answer, so that waiting for an earlier answer counts, too. step: of the first points, over all that the runs have; rate: requests a second
of all clients together, evenly spaced; null: as fast as they are answered.
"""

import json
import select
import socket
import sys
import time
from collections import deque

_HEAD = b"POST /api/2.0/mlflow/runs/log-metric HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nuser-agent: load\r\ncontent-type: application/json\r\n"


class Client:
    """One connection, and the run that it logs to."""

    def __init__(self, port: int, run: str, step: int) -> None:
        self._port, self._run, self._step = port, run, step
        self._request = self._came = b""
        self._tries = 0
        self.due: deque[float] = deque()  # of requests that wait, the first of them is under way
        self.socket = self._connect()

    def ask(self, due: float) -> None:
        """Send a request, or keep it until those before are answered."""
        self.due.append(due)
        if len(self.due) == 1:
            self._next()

    def take(self) -> tuple[float, bool] | None:
        """Read what came; give when its request was due and whether all is well, once the answer is whole."""
        try:
            piece = self.socket.recv(65536)
        except OSError:
            piece = b""
        self._came += piece
        head, _, body = self._came.partition(b"\r\n\r\n")
        if not piece:
            self.socket.close()
            self.socket = self._connect()
            if not self.due or (not self._came and self._tries == 1):  # it dropped a connection that rested: some of MLflow's workers do
                self._send()
                return None
            return self._answered(False)
        if b"\r\n\r\n" not in self._came or len(body) < _length(head):
            return None
        return self._answered(head.startswith(b"HTTP/1.1 200"))

    def _answered(self, is_well: bool) -> tuple[float, bool]:
        due = self.due.popleft()
        if self.due:
            self._next()
        return due, is_well

    def _next(self) -> None:
        self._step += 1
        self._tries = 0
        body = b'{"run_id":"%s","key":"m","value":%d,"timestamp":%d,"step":%d}' % (self._run.encode(), *[self._step] * 3)
        self._request = _HEAD % self._port + b"content-length: %d\r\n\r\n%b" % (len(body), body)
        self._send()

    def _send(self) -> None:
        if self.due:
            self._came = b""
            self._tries += 1
            self.socket.sendall(self._request)

    def _connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self._port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made


def load(clients: list[Client], rate: float | None, length_s: float) -> tuple[list[float], int, float]:
    """Ask in turns; the seconds of each answer, the errors, and the processor's time of these clients."""
    took: list[float] = []
    errors = number = 0
    cpu_s, begin = time.process_time(), time.perf_counter()
    for client in clients if rate is None else ():
        client.ask(begin)
    while (now := time.perf_counter()) < begin + length_s or any(client.due for client in clients):
        while rate is not None and (due := begin + number / rate) <= min(now, begin + length_s):
            clients[number % len(clients)].ask(due)
            number += 1
        wait_s = 1.0 if rate is None else min(1.0, max(0.0, begin + number / rate - time.perf_counter()))
        by_socket = {client.socket: client for client in clients}
        ready, _, _ = select.select(by_socket, (), (), wait_s)  # epoll counts in milliseconds, this in microseconds
        for client in (by_socket[each] for each in ready):
            if (answer := client.take()) is not None:
                took.append(time.perf_counter() - answer[0])
                errors += not answer[1]
                if rate is None and time.perf_counter() < begin + length_s:
                    client.ask(time.perf_counter())
    return took, errors, time.process_time() - cpu_s


def _length(head: bytes) -> int:
    return next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)


def main() -> None:
    asked = json.load(sys.stdin)
    clients = [Client(asked["port"], run, asked["step"]) for run in asked["runs"]]
    took, errors, cpu_s = load(clients, asked["rate"], asked["length_s"])
    took.sort()
    at = {str(q): took[min(len(took) - 1, int(q * len(took)))] for q in (0.5, 0.9, 0.99, 0.999)}
    json.dump({"count": len(took), "errors": errors, "cpu_s": cpu_s, "most_s": took[-1], "at": at}, sys.stdout)


if __name__ == "__main__":
    main()
