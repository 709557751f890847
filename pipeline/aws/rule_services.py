"""What the functions of IoT SQL ask, answered by the AWS backend through boto3.

A function never fails a rule: what cannot be answered is Undefined, counted, and shown by the health of `rules`.
"""

import base64
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from boto3.dynamodb.types import Binary, TypeDeserializer
from botocore.exceptions import BotoCoreError, ClientError

from ..actions.attributes import to_attribute
from ..rules.payload import decode, to_json
from ..rules.values import UNDEFINED, Value, is_number, settle
from .session import translate

LAMBDA_SECONDS: Final = 2.0
"""What AWS gives a function that a rule calls (developer guide, "aws_lambda")."""

SECRET_SECONDS: Final = 15 * 60.0
"""AWS keeps a secret up to 15 minutes (developer guide, "get_secret")."""

MAX_SECRETS: Final = 100

_INVOKERS: Final = 4
"""Calls of functions under way at once; one that takes too long keeps its thread until it has answered."""

_DESERIALIZER = TypeDeserializer()


class AwsServices:
    """The port `Services`. Blocks: to be asked in a thread."""

    def __init__(self, client: Callable[[str], Any], *, clock: Callable[[], float] = time.monotonic) -> None:
        """`client` gives the boto3 client of a service."""
        self._client = client
        self._clock = clock
        self._secrets: dict[str, tuple[float, Value]] = {}
        self._invokers = ThreadPoolExecutor(_INVOKERS, thread_name_prefix="aws_lambda")
        self.failures = 0
        self.last_failure = ""

    def thing_shadow(self, thing: str, name: str) -> Value:
        """The document of a shadow."""
        named = {"shadowName": name} if name else {}
        return self._ask(
            "get_thing_shadow",
            lambda: decode(
                self._client("iot-data").get_thing_shadow(thingName=thing, **named)["payload"].read()
            ),
        )

    def item(self, table: str, key: Mapping[str, Value]) -> Value:
        """The item of that key."""
        return self._ask("get_dynamodb", lambda: self._item(table, key))

    def invoke(self, function: str, document: Value) -> Value:
        """What the function returns; nothing if it failed or took more than two seconds."""
        return self._ask("aws_lambda", lambda: self._invoke(function, document))

    def registry(self, api: str, thing: str) -> Value:
        """What the registry says of a thing."""
        return self._ask("get_registry_data", lambda: self._registry(api, thing))

    def secret(self, secret: str) -> Value:
        """The current version, at most 15 minutes old."""
        kept = self._secrets.get(secret)
        if kept is not None and self._clock() - kept[0] < SECRET_SECONDS:
            return kept[1]
        value = self._ask("get_secret", lambda: self._secret(secret))
        if value is not UNDEFINED and len(self._secrets) < MAX_SECRETS:
            self._secrets[secret] = (self._clock(), value)
        return value

    def _item(self, table: str, key: Mapping[str, Value]) -> Value:
        attributes = {name: to_attribute(value) for name, value in key.items()}
        item = self._client("dynamodb").get_item(TableName=table, Key=attributes).get("Item")
        if item is None:
            return UNDEFINED
        return {name: _plain(_DESERIALIZER.deserialize(value)) for name, value in item.items()}

    def _invoke(self, function: str, document: Value) -> Value:
        body = to_json(document).encode("utf-8", "backslashreplace")
        client = self._client("lambda")
        calling = self._invokers.submit(lambda: client.invoke(FunctionName=function, Payload=body))
        try:
            answer = calling.result(timeout=LAMBDA_SECONDS)
        except TimeoutError:
            raise ValueError(f"{function} took more than {LAMBDA_SECONDS:g} s") from None
        told = answer["Payload"].read()
        if answer.get("FunctionError"):
            raise ValueError(f"{function} failed: {told[:200].decode(errors='replace')}")
        return decode(told)

    def _registry(self, api: str, thing: str) -> Value:
        iot = self._client("iot")
        answer = (
            iot.describe_thing(thingName=thing)
            if api == "DescribeThing"
            else iot.list_thing_groups_for_thing(thingName=thing)
        )
        answer.pop("ResponseMetadata", None)
        return decode(json.dumps(answer, default=str).encode())

    def _secret(self, secret: str) -> Value:
        found = self._client("secretsmanager").get_secret_value(SecretId=secret)
        return found["SecretString"] if "SecretString" in found else bytes(found["SecretBinary"])

    def _ask(self, function: str, work: Callable[[], Value]) -> Value:
        try:
            return work()
        except (BotoCoreError, ClientError) as error:
            told = translate(error)
            return self._unanswered(f"{function}(): {told.what}; fix: {told.fix}")
        except (ValueError, KeyError) as error:
            return self._unanswered(f"{function}(): {error}")

    def _unanswered(self, what: str) -> Value:
        self.failures += 1
        self.last_failure = what
        return UNDEFINED


def _plain(value: Any) -> Value:
    """As JSON would bring it: no Decimal where a float says the same, no set; bytes as base64, as DynamoDB writes them."""
    if is_number(value):
        return settle(value, whole=True) if not isinstance(value, int) else value
    if isinstance(value, set | list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, Binary):
        return base64.b64encode(bytes(value)).decode()  # type: ignore[call-overload]  # its stub is wrong
    return value if value is None or isinstance(value, bool) else str(value)
