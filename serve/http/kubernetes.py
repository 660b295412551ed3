"""Variables that Kubernetes puts into every container, named after the Services of its namespace.

A variable in, whether Kubernetes made it out. A Service called ``depth`` or ``depth-serve`` makes
some with our own prefix, which nobody who runs this service has set.

Source: "Discovering services: Environment variables" of Kubernetes's documentation, and its
``pkg/kubelet/envvars``.
"""

import re

ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+:\d+")
HOST, PORT = re.compile(r"[0-9a-fA-F.:]+"), re.compile(r"\d+")
# How a name ends -> what its value then is. Of a port `a-b` the name is `A_B`.
FORMS = (
    (re.compile(r"_SERVICE_HOST"), HOST),
    (re.compile(r"_SERVICE_PORT(_[A-Z0-9_]+)?"), PORT),
    (re.compile(r"_PORT"), ADDRESS),
    (re.compile(r"_PORT_\d+_(TCP|UDP|SCTP)"), ADDRESS),
    (re.compile(r"_PORT_\d+_(TCP|UDP|SCTP)_PROTO"), re.compile(r"tcp|udp|sctp")),
    (re.compile(r"_PORT_\d+_(TCP|UDP|SCTP)_PORT"), PORT),
    (re.compile(r"_PORT_\d+_(TCP|UDP|SCTP)_ADDR"), HOST),
)


def is_of_a_service(name: str, value: str) -> bool:
    """True if a variable is one that Kubernetes makes of a Service, by its name and its value."""
    return any(
        re.fullmatch(f"[A-Z0-9_]+{ending.pattern}", name) and form.fullmatch(value)
        for ending, form in FORMS
    )
