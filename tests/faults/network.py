"""Two hosts on one machine: network namespaces, and a link between them that does what a `Path` says.

    namespace "near" 10.x.y.1 ── tun ── this process ── tun ── namespace "far" 10.x.y.2

The link is a router in this process: real IP packets of whatever runs inside, real sockets, seeded faults. (The
kernel's own netem does the same where it is compiled in, but not from a seed.) Needs root and /dev/net/tun.
"""

import asyncio
import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath

from tests.faults.path import Conditions, Path

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x0001 | 0x1000
_MTU = 1500


def missing() -> str | None:
    """What this machine lacks for it; None when it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the `ip` command (package iproute2)"
    if not FilePath("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    probe = f"showcart-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"network namespaces are not allowed here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return None


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Sockets made in this block live in `namespace` for good. The block must not await."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _enter(libc, f"/run/netns/{namespace}")
        try:
            yield
        finally:
            if libc.setns(home, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "could not return from the network namespace")
    finally:
        os.close(home)


def _enter(libc: ctypes.CDLL, path: str) -> None:
    goal = os.open(path, os.O_RDONLY)
    try:
        if libc.setns(goal, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"could not enter {path}")
    finally:
        os.close(goal)


class Network:
    """Two namespaces, `near` and `far`, joined by `there` (near to far) and `back`."""

    def __init__(self, *, there: Conditions | None = None, back: Conditions | None = None, seed: int = 1) -> None:
        self.there, self.back = Path(there or Conditions(), seed), Path(back or Conditions(), seed + 1)
        name = f"showcart-{os.getpid()}-{id(self):x}"
        self.near, self.far = f"{name}-near", f"{name}-far"
        subnet = f"10.{210 + os.getpid() % 40}.{os.getpid() // 40 % 250}"
        self.near_ip, self.far_ip = f"{subnet}.1", f"{subnet}.2"
        self._loop = asyncio.get_running_loop()
        self._ends: list[int] = []
        try:
            for namespace, ip, peer in ((self.near, self.near_ip, self.far_ip), (self.far, self.far_ip, self.near_ip)):
                _run("ip", "netns", "add", namespace)
                self._ends.append(self._tun(namespace))
                _run("ip", "-n", namespace, "addr", "add", ip, "peer", peer, "dev", "wire")
                _run("ip", "-n", namespace, "link", "set", "lo", "up")
                _run("ip", "-n", namespace, "link", "set", "wire", "mtu", str(_MTU), "up")
        except BaseException:
            self.close()
            raise
        near, far = self._ends
        self._loop.add_reader(near, self._forward, near, far, self.there)
        self._loop.add_reader(far, self._forward, far, near, self.back)

    def close(self) -> None:
        """Take everything down; processes inside must have ended."""
        for end in self._ends:
            self._loop.remove_reader(end)
            os.close(end)
        self._ends.clear()
        for namespace in (self.near, self.far):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)

    def _tun(self, namespace: str) -> int:
        with inside(namespace):
            descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", b"wire", _IFF_TUN_NO_PI))
        return descriptor

    def _forward(self, source: int, to: int, path: Path) -> None:
        while True:
            try:
                packet = os.read(source, _MTU + 4)
            except BlockingIOError:
                return
            if packet[0] >> 4 != 4:
                continue  # IPv6 neighbour discovery; the hosts speak IPv4
            now = self._loop.time()
            for at in path.offer(len(packet), now):
                self._loop.call_at(at, self._deliver, to, packet)

    def _deliver(self, to: int, packet: bytes) -> None:
        if to in self._ends:
            try:
                os.write(to, packet)
            except (BlockingIOError, OSError):
                return  # the interface is full, or down already


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
