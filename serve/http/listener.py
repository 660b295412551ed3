"""The listening socket: opened where the settings say, closed without resetting who just comes in.

Linux resets connections that it has completed but nobody has accepted when their listening socket
closes. So new ones are first turned away by a filter of the kernel: their clients try again after a
second, and are then refused, which every client understands as "not sent".
"""

import ctypes
import socket
import struct

from runtime.errors import InputError
from runtime.files import reason
from serve.http.settings import Settings

BACKLOG = 2048

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


def listening_address(settings: Settings) -> str:
    """Where to listen, as servers are told it: a number, since a name may have several.

    Raises:
        InputError: the host is no address of this machine.
    """
    family, address = _family_and_address(settings)
    number = f"[{address}]" if family == socket.AF_INET6 else address
    return f"{number}:{settings.port}"


def open_listener(settings: Settings) -> socket.socket:
    """A socket that listens there, and may be handed on to another program.

    Raises:
        InputError: the host is no address of this machine, or the port is taken.
    """
    family, address = _family_and_address(settings)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise InputError(
            f"SAGEMAKER_BIND_TO_PORT={settings.port}: {reason(error)}; free it, or give another"
        ) from None
    listener.setblocking(False)  # nginx takes it as it is, and must never wait in accept()
    listener.set_inheritable(True)
    return listener


def _family_and_address(settings: Settings) -> tuple[int, str]:
    host = settings.host.strip("[]")
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.bind((address[0], 0))
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"DEPTH_HOST={settings.host!r}: nothing can listen there ({reason(error)}); give an "
            "address of this machine, as 127.0.0.1, ::1, 0.0.0.0 or ::"
        ) from None
    return family, str(address[0])
