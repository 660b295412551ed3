"""The door to AWS: clients, one call at a time, and its refusals in our words.

Credentials come through boto3's own chain; nothing here reads or prints them.
"""

from collections.abc import Iterator
from typing import Any, Optional

from runtime.errors import DepthError
from runtime.optional import require
from serve.sagemaker.call import Call

CONNECT_S, READ_S = 10, 70  # SageMaker gives an answer up after 60 s; wait a little longer


class AwsError(DepthError):
    """AWS refused a call, failed at it, or could not be reached."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class Aws:
    """Clients of one region, made when first needed.

    Args:
        endpoint_url: of a stand-in for AWS that answers for every service.
        attempts: of each call, with boto3's own pauses between them.
    """

    def __init__(
        self,
        region: Optional[str] = None,
        endpoint_url: Optional[str] = None,
        attempts: int = 5,
    ) -> None:
        self._region, self._endpoint_url, self._attempts = region, endpoint_url, attempts
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """The boto3 client of a service.

        Raises:
            MissingDependency: boto3 is not installed.
            AwsError: no region is known.
        """
        if service not in self._clients:
            boto3 = require("boto3", "aws")
            config = require("botocore.config", "aws").Config(
                connect_timeout=CONNECT_S,
                read_timeout=READ_S,
                retries={"total_max_attempts": self._attempts, "mode": "standard"},
            )
            try:
                self._clients[service] = boto3.client(
                    service,
                    region_name=self._region,
                    endpoint_url=self._endpoint_url,
                    config=config,
                )
            except (require("botocore.exceptions", "aws").BotoCoreError, ValueError) as error:
                raise AwsError(f"{service}: {error}; see --region and --endpoint-url") from error
        return self._clients[service]

    def send(self, call: Call) -> dict[str, Any]:
        """Make one call.

        Raises:
            AwsError: it failed; the text says which step and why.
        """

        def run() -> dict[str, Any]:
            operation = getattr(self.client(call.service), call.operation)
            answer: dict[str, Any] = operation(**call.parameters) or {}
            if hasattr(answer.get("Body"), "read"):  # a stream, which may still break
                answer["Body"] = answer["Body"].read()
            return answer

        return self._guarded(call.step, run)

    def ask(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Read something.

        Raises:
            AwsError: it failed.
        """
        return self.send(
            Call(step=operation, service=service, operation=operation, parameters=parameters)
        )

    def every(self, service: str, operation: str, key: str, **parameters: Any) -> list[Any]:
        """Read a list, all pages of it.

        Args:
            key: of the answer that holds the list.
        Raises:
            AwsError: it failed.
        """

        def pages() -> Iterator[Any]:
            for page in self.client(service).get_paginator(operation).paginate(**parameters):
                yield from page.get(key, ())

        return self._guarded(operation, lambda: list(pages()))

    def _guarded(self, step: str, run: Any) -> Any:
        exceptions = require("botocore.exceptions", "aws")
        transfer = require("boto3.exceptions", "aws")
        try:
            return run()
        except exceptions.ClientError as error:
            facts = error.response.get("Error", {})
            code = str(facts.get("Code", ""))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "no status")
            why = facts.get("Message") or f"HTTP {status}"
            raise AwsError(f"{step} failed: {code}: {why}", code) from error
        except (exceptions.BotoCoreError, transfer.Boto3Error) as error:
            raise AwsError(f"{step} failed: {error}") from error
