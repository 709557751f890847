"""MD2 (RFC 1319), which `hashlib` does not offer and IoT SQL does. Not for security: the guide lists it."""

import functools
from typing import Final

_BLOCK: Final = 16
_ROUNDS: Final = 18


def _pi_digits() -> list[int]:
    """The decimals of pi, without end: Gibbons' spigot. RFC 1319 draws its table from them."""
    digits: list[int] = []
    q, r, t, k, n, m = 1, 0, 1, 1, 3, 3
    while len(digits) < 722:  # as many as the 256 draws below use up
        if 4 * q + r - t < n * t:
            digits.append(n)
            q, r, n = 10 * q, 10 * (r - n * t), (10 * (3 * q + r)) // t - 10 * n
        else:
            q, r, t, k, n, m = (
                q * k,
                (2 * q + r) * m,
                t * m,
                k + 1,
                (q * (7 * k + 2) + r * m) // (t * m),
                m + 2,
            )
    return digits


@functools.cache
def _table() -> bytes:
    """A permutation of the bytes: Durstenfeld's shuffle, driven by the digits of pi."""
    digits = iter(_pi_digits())

    def draw(bound: int) -> int:
        """A number below `bound` from as many digits as it needs, without bias."""
        width, span = (1, 10) if bound <= 10 else (2, 100) if bound <= 100 else (3, 1000)
        while True:
            number = 0
            for _ in range(width):
                number = number * 10 + next(digits)
            if number < span // bound * bound:
                return number % bound

    table = list(range(256))
    for size in range(2, 257):
        other = draw(size)
        table[size - 1], table[other] = table[other], table[size - 1]
    return bytes(table)


def md2(data: bytes) -> str:
    """The digest in lower-case hexadecimal."""
    padding = _BLOCK - len(data) % _BLOCK
    data += bytes([padding]) * padding
    state = bytes(_BLOCK)
    data += _checksum(data)
    for start in range(0, len(data), _BLOCK):
        state = _compress(state, data[start : start + _BLOCK])
    return state.hex()


def _checksum(data: bytes) -> bytes:
    pi, checksum, last = _table(), bytearray(_BLOCK), 0
    for index, byte in enumerate(data):
        checksum[index % _BLOCK] ^= pi[byte ^ last]
        last = checksum[index % _BLOCK]
    return bytes(checksum)


def _compress(state: bytes, block: bytes) -> bytes:
    work = bytearray(state + block + bytes(a ^ b for a, b in zip(state, block, strict=True)))
    pi, last = _table(), 0
    for turn in range(_ROUNDS):
        for index in range(3 * _BLOCK):
            work[index] ^= pi[last]
            last = work[index]
        last = (last + turn) % 256
    return bytes(work[:_BLOCK])
