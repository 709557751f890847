"""Functions on arrays, objects and the lack of values."""

from ..payload import to_text
from ..values import MAX_TEXT, UNDEFINED, Value, to_int
from .base import MANY, register


@register("get", 2)
def _get(container: Value, key: Value) -> Value:
    """By 0-based index from an Array or String, by name from an Object."""
    if type(container) is dict:
        return container.get(key, UNDEFINED) if type(key) is str else UNDEFINED
    if type(container) is not list and type(container) is not str:
        return UNDEFINED
    index = to_int(key)
    return container[index] if type(index) is int and 0 <= index < len(container) else UNDEFINED


@register("get_or_default", 2)
def _get_or_default(value: Value, default: Value) -> Value:
    """The default if the expression is Null or Undefined."""
    return default if value is None or value is UNDEFINED else value


@register("nanvl", 2)
def _nanvl(value: Value, default: Value) -> Value:
    return default if value is None or value is UNDEFINED else value


@register("isnull", 1)
def _isnull(value: Value) -> Value:
    return value is None


@register("isundefined", 1, new=True)
def _isundefined(value: Value) -> Value:
    return value is UNDEFINED


@register("concat", 0, MANY)
def _concat(*values: Value) -> Value:
    """Arrays swallow the rest; otherwise text if any argument is a String.

    The guide contradicts itself on one argument (`concat(1) = "1"` against "returned unmodified"); we take the
    printed example.
    """
    if any(type(value) is list for value in values):
        return _joined_arrays(values)
    if len(values) > 1 and not any(type(value) is str for value in values):
        return UNDEFINED
    texts = [to_text(value) for value in values]
    parts = [text for text in texts if isinstance(text, str)]
    if not texts or len(parts) < len(texts) or sum(map(len, parts)) > MAX_TEXT:
        return UNDEFINED
    return "".join(parts)


def _joined_arrays(values: tuple[Value, ...]) -> Value:
    joined: list[Value] = []
    for value in values:
        if value is not UNDEFINED:
            joined += value if type(value) is list else [value]
    return joined if len(joined) <= MAX_TEXT else UNDEFINED


@register("transform", 3, new=True)
def _transform(mode: Value, attributes: Value, array: Value) -> Value:
    """`enrichArray`: every object of the array with the attributes added."""
    if mode != "enrichArray" or type(attributes) is not dict or type(array) is not list:
        return UNDEFINED
    if not all(type(item) is dict for item in array):
        return UNDEFINED
    return [{**item, **attributes} for item in array]
