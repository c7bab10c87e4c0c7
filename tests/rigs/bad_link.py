"""A link that goes wrong in the ways that links do, each at the rig's word."""

import contextlib
import socket
import struct
import threading

from harness import Proxy


class BadLink(Proxy):
    """The relay of harness.Proxy (`cut` ends what runs and refuses what comes), with more ways to go wrong.

    `stall` lets nothing through, neither what runs nor what comes, and keeps it; `swallow` says yes to all that is sent and
    loses it; `reset` ends what runs without a goodbye (RST); `half_close` ends one direction of what runs. `mend` lets
    everything through again; what lost bytes is reset then, since it can never be right again.
    """

    FAULTS = ("cut", "reset", "stall", "swallow", "half_close")

    def __init__(self, site, target):
        self._flows = threading.Event()
        self._flows.set()
        self._swallows = False
        super().__init__(site, target)

    def go_wrong(self, chance):
        """In one of the ways; returns which."""
        fault = chance.choice(self.FAULTS)
        if fault == "half_close":
            self.half_close(chance.randrange(2))
        else:
            getattr(self, fault)()
        return fault

    def stall(self):
        self._flows.clear()

    def swallow(self):
        self._swallows = True

    def reset(self):
        with self._lock:
            pairs, self._open = self._open, []
        for pair in pairs:
            for one in pair:
                with contextlib.suppress(OSError):
                    # To linger for 0 s is to forget what was not sent, and to say RST.
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.shutdown(socket.SHUT_RD)  # wakes the thread that reads it
                one.close()

    def half_close(self, side):
        """Side 0, ours, or 1, the upstream's, is told that nothing more comes, and may go on sending."""
        with self._lock:
            pairs = list(self._open)
        for pair in pairs:
            with contextlib.suppress(OSError):
                pair[side].shutdown(socket.SHUT_WR)

    def mend(self):
        if self._swallows:
            self._swallows = False
            self.reset()
        self._flows.set()
        if self._listener is None:
            super().mend()

    def _pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                if not self._swallows:
                    sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
