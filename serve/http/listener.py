"""Closing a listening socket without resetting whoever is just coming in.

Linux resets connections that it has completed but nobody has accepted when their listening socket
closes. So new ones are first turned away by a filter of the kernel: their clients try again after a
second, and are then refused, which every client understands as "not sent".
"""

import ctypes
import socket
import struct

SO_ATTACH_FILTER = 26  # asm-generic/socket.h; the socket module lacks it

# Classic BPF over the TCP header, linux/filter.h: (code, jump if true, jump if false, operand)
_FLAGS, _SYN, _SYN_OR_ACK = 13, 0x02, 0x12
DROP_NEW_CONNECTIONS = (
    (0x30, 0, 0, _FLAGS),  # load the byte of flags
    (0x54, 0, 0, _SYN_OR_ACK),  # and
    (0x15, 0, 1, _SYN),  # SYN without ACK: next, else skip one
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep all of it
)


def turn_away(listener: socket.socket) -> bool:
    """Begin no new connection on a listening TCP socket, in whatever process it is open.

    Returns:
        False if the system has no such filters: a reset stays possible.
    """
    program = b"".join(struct.pack("HBBI", *step) for step in DROP_NEW_CONNECTIONS)
    steps = ctypes.create_string_buffer(program, len(program))
    pointer = struct.pack("HL", len(DROP_NEW_CONNECTIONS), ctypes.addressof(steps))
    try:
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pointer)
    except OSError:
        return False
    return True
