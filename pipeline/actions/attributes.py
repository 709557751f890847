"""JSON values as attributes of DynamoDB."""

from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeSerializer

from ..rules.values import Value, exact, is_number

_SERIALIZER = TypeSerializer()


def to_attribute(value: Value) -> dict[str, Any]:
    """The value as DynamoDB's API wants it. Raises ValueError for a number of more than 38 digits."""
    try:
        return dict(_SERIALIZER.serialize(_exact(value)))
    except (TypeError, ArithmeticError) as error:
        raise ValueError(f"no value for DynamoDB: {error}") from None


def typed(text: str, kind: str) -> dict[str, Any]:
    """A key from its text: `kind` is STRING or NUMBER. Raises ValueError."""
    if kind != "NUMBER":
        return {"S": text}
    try:
        return {"N": str(Decimal(text))}
    except ArithmeticError:
        raise ValueError(f"the key '{text[:80]}' is no number") from None


def _exact(value: Value) -> Any:
    """Decimals in the place of floats, which the serializer refuses. At most as deep as a payload may be."""
    if is_number(value):
        return exact(value)
    if type(value) is list:
        return [_exact(item) for item in value]
    if type(value) is dict:
        return {key: _exact(item) for key, item in value.items()}
    return value
