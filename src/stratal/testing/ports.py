"""Ports of loopback for servers that come and go in tests."""

import socket

_held: list[socket.socket] = []


def held_port() -> int:
    """Give a port that nobody else is given while this process lives, also while no server listens there.

    It is bound here and not listened to: a server that may reuse addresses, as ours, binds it beside that; who connects meanwhile is
    refused."""
    holding = socket.socket()
    holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holding.bind(("127.0.0.1", 0))
    _held.append(holding)
    return int(holding.getsockname()[1])
