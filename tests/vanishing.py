"""Machines that vanish: no FIN, no RST, no ACK any more."""

import ctypes
import socket
import struct
import sys

import pytest

_SO_ATTACH_FILTER = 26

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="sockets go deaf by Linux's SO_ATTACH_FILTER")


def vanish(sock: socket.socket) -> None:
    """From now on nothing that arrives for the socket is heard or acknowledged: a BPF program of "return 0"."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))
