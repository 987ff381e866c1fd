"""The byte stream to a container's main process, over the socket that Docker's attach call gives."""

import select
import socket
import struct
import time
from collections.abc import Callable

_HEADER = struct.Struct(">BxxxI")
_STDOUT = 1
_STDERR_KEPT_BYTES = 4000


class AttachedAgent:
    """Transport to an agent in a container: raw bytes in, a multiplexed stream out."""

    def __init__(self, sock: socket.socket, *, died_of_memory: Callable[[], bool]) -> None:
        self._socket = sock
        self._died_of_memory = died_of_memory
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._header = bytearray()
        self._left = 0
        self._is_stdout = False
        self._stderr = b""
        sock.settimeout(None)

    def send(self, data: bytes | memoryview) -> None:
        """See `Transport.send`."""
        self._socket.sendall(data)

    def receive(self, timeout_s: float) -> bytes:
        """See `Transport.receive`; what the agent itself writes to stderr is kept for `post_mortem`."""
        deadline = time.monotonic() + timeout_s
        while True:
            # What comes on stderr alone must not put the time-out off.
            if not self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000) or self._late(deadline):
                raise TimeoutError
            wanted = self._left or _HEADER.size - len(self._header)
            data = self._socket.recv(min(wanted, 1 << 20))
            if not data:
                return b""
            if self._left == 0:
                self._take_header(data)
                continue
            self._left -= len(data)
            if self._is_stdout:
                return data
            self._stderr = (self._stderr + data)[-_STDERR_KEPT_BYTES:]

    def oom_kills(self) -> int | None:
        """See `Transport.oom_kills`: the agent reads the counter itself."""
        return None

    def died_of_memory(self) -> bool:
        """See `Transport.died_of_memory`."""
        return self._died_of_memory()

    def post_mortem(self) -> str:
        """See `Transport.post_mortem`."""
        return self._stderr.decode(errors="replace").strip()

    def _late(self, deadline: float) -> bool:
        return not self._is_stdout and time.monotonic() > deadline

    def _take_header(self, data: bytes) -> None:
        self._header += data
        if len(self._header) == _HEADER.size:
            stream, self._left = _HEADER.unpack(bytes(self._header))
            self._is_stdout = stream == _STDOUT
            self._header.clear()
