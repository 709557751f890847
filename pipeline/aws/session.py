"""The one place that makes boto3 clients, and the one that turns botocore's errors into ours."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from contracts.errors import Terminal, Transient
from contracts.registry import Backend, Registry

from .loopback import favour_loopback

P = ParamSpec("P")
T = TypeVar("T")

AWS_BACKENDS = Registry(
    "aws backend",
    {
        "embedded": Backend(
            "pipeline.aws.session:embedded_client", capabilities=frozenset({"emulator", "iot-rules"})
        ),
        "localstack": Backend(
            "pipeline.aws.session:localstack_client",
            package="localstack-client",
            capabilities=frozenset({"emulator"}),
        ),
        "aws": Backend("pipeline.aws.session:real_client", capabilities=frozenset({"iot-rules", "real"})),
    },
)

CONNECT_SECONDS, READ_SECONDS = 2.0, 30.0
"""A read must outlast the longest long poll (20 s)."""

RETRYABLE = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttled",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""Error codes of AWS services after which the same request may succeed."""

_BUSY = frozenset({"dynamodb", "dynamodbstreams", "sns", "sqs"})
"""Services that every message passes."""

_CREDENTIALS = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "ExpiredToken",
    }
)


def embedded_client(service: str, *, endpoint: str, region: str = "us-east-1") -> Any:
    """A client of the emulator: unsigned, unvalidated, and for what every message passes with an HTTP of our own."""
    client = unsigned_client(service, endpoint=endpoint, region=region)
    if service in _BUSY:
        favour_loopback(client, connect_seconds=CONNECT_SECONDS, read_seconds=READ_SECONDS)
    return client


def unsigned_client(service: str, *, endpoint: str, region: str = "us-east-1") -> Any:
    """A client of the emulator: unsigned and unvalidated, measured a tenth faster.

    The `iot` APIs are told from S3 by the signature's scope, so their requests are signed.
    """
    options: dict[str, Any] = {} if service in ("iot", "iot-data") else {"signature_version": UNSIGNED}
    return _emulator_client(service, endpoint, region, parameter_validation=False, **options)


def signed_client(service: str, *, endpoint: str, region: str = "us-east-1") -> Any:
    """A client of the emulator as boto3 makes it: signed and validated. What the others are measured against."""
    return _emulator_client(service, endpoint, region)


def _emulator_client(service: str, endpoint: str, region: str, **options: Any) -> Any:
    make: Any = boto3.client  # the stubs want the service as a literal
    return make(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the emulator takes any
        config=Config(
            max_pool_connections=50,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": 2},
            **options,
        ),
    )


def localstack_client(service: str, *, endpoint: str, region: str) -> Any:
    """A client of LocalStack, by localstack-client; its own variables choose another endpoint."""
    from localstack_client.session import Session  # noqa: PLC0415 - only this backend needs it

    return Session(region_name=region).client(service, **({"endpoint_url": endpoint} if endpoint else {}))


def real_client(service: str, *, endpoint: str, region: str) -> Any:
    """A client of the user's own account and credentials."""
    config = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"mode": "standard"})
    make: Any = boto3.client  # likewise
    return make(service, region_name=region, endpoint_url=endpoint or None, config=config)


class ClientFactory:
    """Clients by service name, each made once. boto3 clients are thread-safe."""

    def __init__(self, *, backend: str, endpoint: str = "", region: str = "us-east-1") -> None:
        self._make: Callable[..., Any] = AWS_BACKENDS.load(backend)
        self._endpoint = endpoint
        self._region = region
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """The client of a service (`sqs`, `dynamodbstreams`, ...)."""
        if service not in self._clients:
            self._clients[service] = self._make(service, endpoint=self._endpoint, region=self._region)
        return self._clients[service]


def translate(error: BotoCoreError | ClientError) -> Transient | Terminal:
    """Ours for theirs: Transient where trying again may help, Terminal where it cannot."""
    if isinstance(error, BotoConnectionError | HTTPClientError):
        return Transient(f"AWS cannot be reached: {error}", fix="is the endpoint up and the network there?")
    if not isinstance(error, ClientError):
        return Terminal(f"the AWS client cannot work: {error}", fix="check the credentials and the region")
    told: Mapping[str, Any] = error.response.get("Error", {})
    code, operation = str(told.get("Code", "")), error.operation_name
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
    what = f"{operation} failed: {code}: {told.get('Message', '')}"
    if code in _CREDENTIALS:
        return Terminal(what, fix="check the credentials and the policy of the role")
    if status >= 500 or code in RETRYABLE:
        return Transient(what, fix="it is tried again", retry_after=0.1)
    return Terminal(
        what, fix="check that the resource exists and has the expected shape: `thingstorm doctor`"
    )


def translated(work: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that calls AWS, so that it raises our errors only."""

    @wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return work(*args, **kwargs)
        except (BotoCoreError, ClientError) as error:
            raise translate(error) from error

    return run
