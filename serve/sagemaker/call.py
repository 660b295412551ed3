"""One call of AWS as a value, which can be printed, compared and tested. Sends nothing."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Call:
    """One call. ``step`` says for people what it does; ``only_if``, when it is left out."""

    step: str
    service: str
    operation: str
    parameters: dict[str, Any] = field(hash=False)
    only_if: str = ""

    def as_json(self) -> str:
        """One line."""
        facts = {
            "service": self.service,
            "operation": self.operation,
            "parameters": self.parameters,
        }
        if self.only_if:
            facts["only_if"] = self.only_if
        return json.dumps(facts)
