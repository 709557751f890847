"""The one place that makes boto3 clients, and the one that turns botocore's errors into ours."""

import itertools
import os
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from contracts.errors import Misconfigured, Terminal, Transient
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
            capabilities=frozenset({"emulator", "sns-firehose"}),
        ),
        "aws": Backend(
            "pipeline.aws.session:real_client", capabilities=frozenset({"iot-rules", "real", "sns-firehose"})
        ),
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
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""Who asks is not known (AWS, "Common errors")."""

_CREDENTIALS_FIX = (
    "check the credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID, `aws sts get-caller-identity`) and the clock"
)

_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError", "403"})

_MISSING = frozenset(
    {
        "404",
        "AWS.SimpleQueueService.NonExistentQueue",
        "NoSuchBucket",
        "NotFound",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
    }
)
"""The resource that a request names does not exist."""


_SERVICE_VARIABLES = {"dynamodbstreams": "DYNAMODB_STREAMS", "iot-data": "IOT_DATA_PLANE"}
"""Services whose variable is not just their name in capitals."""


_MENDS = (
    (_CREDENTIALS, _CREDENTIALS_FIX),
    (_DENIED, "allow it in the policy of the user or role (OperatorPolicy in pipeline/aws/template.yaml)"),
    (_MISSING, "it is not there: make it with `thingstorm deploy`, or start the stack again"),
)


def embedded_client(service: str, *, endpoint: str, region: str = "us-east-1") -> Any:
    """A client of the emulator: unsigned, unvalidated, and for what every message passes with an HTTP of our own."""
    client = unsigned_client(service, endpoint=endpoint, region=region)
    if service in _BUSY:
        favour_loopback(client, connect_seconds=CONNECT_SECONDS, read_seconds=READ_SECONDS)
        client.meta.events.register("before-parameter-build", _number_call)
    return client


_calls = itertools.count(1)


def _number_call(context: dict[str, Any], **_: Any) -> None:
    """A number for the call, where botocore takes random bytes of the system.

    A thread that asks for those gives up the interpreter, and has to wait for it again.
    """
    context.setdefault("retries", {})["invocation-id"] = f"{next(_calls):032x}"


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
        config=_config(**options),
    )


def localstack_client(service: str, *, endpoint: str, region: str) -> Any:
    """A client of LocalStack, by localstack-client, which without an endpoint looks at `LOCALSTACK_HOST`.

    AWS's service-specific variables win (`AWS_ENDPOINT_URL_DYNAMODB`, SDKs and tools reference guide): LocalStack outside
    of Docker has no DynamoDB, and then another emulator's may take its place.
    """
    from localstack_client.session import Session  # noqa: PLC0415 - only this backend needs it

    own = os.environ.get(f"AWS_ENDPOINT_URL_{_SERVICE_VARIABLES.get(service, service.upper())}")
    if own:
        return embedded_client(service, endpoint=own, region=region)
    host = urlsplit(endpoint).netloc or None
    return Session(region_name=region, localstack_host=host).client(service, config=_config())


def _config(**options: Any) -> Config:
    """What clients of emulators have in common."""
    return Config(
        max_pool_connections=50,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": 2},
        user_agent="thingstorm",  # else botocore puts a long one together at every call: a twentieth of the path's time
        **options,
    )


def real_client(service: str, *, endpoint: str, region: str) -> Any:
    """A client of the user's own account and credentials."""
    config = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"mode": "standard"})
    make: Any = boto3.client  # likewise
    return make(service, region_name=region, endpoint_url=endpoint or None, config=config)


class ClientFactory:
    """Clients by service name, each made once. boto3 clients are thread-safe."""

    def __init__(self, *, backend: str, endpoint: str = "", region: str = "us-east-1") -> None:
        self._make: Callable[..., Any] = AWS_BACKENDS.load(backend)
        self.capabilities = AWS_BACKENDS.get(backend).capabilities
        self._endpoint = endpoint
        self.region = region
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """The client of a service (`sqs`, `dynamodbstreams`, ...)."""
        if service not in self._clients:
            client = self._make(service, endpoint=self._endpoint, region=self.region)
            client.meta.events.register("after-call", _name_service)
            self._clients[service] = client
        return self._clients[service]


def _name_service(model: Any, parsed: Any, **_: Any) -> None:
    """Botocore's errors know their operation, not their service: it is noted where they are made of."""
    if isinstance(parsed, dict):
        parsed.setdefault("ResponseMetadata", {})["Service"] = model.service_model.service_id


def translate(error: BotoCoreError | ClientError) -> Transient | Terminal:
    """Ours for theirs: Transient where trying again may help, Misconfigured where a person must mend something, else Terminal.

    Each names the service and the mend.
    """
    if isinstance(error, ClientError):
        return _translate_answer(error)
    if isinstance(error, BotoConnectionError | HTTPClientError):
        return Transient(
            f"AWS cannot be reached: {error}",
            fix="see that the service at that address runs (aws.endpoint), and the network to it",
        )
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return Misconfigured(f"AWS: {error}", fix=_CREDENTIALS_FIX)
    return Misconfigured(f"the AWS client cannot work: {error}", fix="check the credentials and the region")


def _translate_answer(error: ClientError) -> Transient | Terminal:
    told: Mapping[str, Any] = error.response.get("Error", {})
    about: Mapping[str, Any] = error.response.get("ResponseMetadata", {})
    code, status = str(told.get("Code", "")), int(about.get("HTTPStatusCode", 400))
    what = f"{about.get('Service', 'AWS')}: {error.operation_name} failed: {code}: {told.get('Message', '')}"
    for codes, fix in _MENDS:
        if code in codes:
            return Misconfigured(what, fix=fix)
    if status >= 500 or code in RETRYABLE:
        return Transient(what, fix="it is tried again", retry_after=0.1)
    return Terminal(
        what, fix="check that the resource has the shape of pipeline/aws/template.yaml: `thingstorm doctor`"
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
