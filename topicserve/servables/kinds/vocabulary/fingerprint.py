"""FarmHash's Fingerprint64, by which TensorFlow puts unknown tokens into buckets.

The numbers are the definition (github.com/google/farmhash, farmhashna::Hash64): a model that was
trained with out-of-vocabulary buckets only understands tokens that are put into the same ones.
"""

_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
_MASK = 2**64 - 1
_SEED = 81

_Pair = tuple[int, int]


def fingerprint64(text: bytes) -> int:
    """Return the fingerprint as an unsigned number."""
    size = len(text)
    if size <= 16:
        return _hash_to_16(text, size)
    if size <= 32:
        return _hash_to_32(text, size)
    if size <= 64:
        return _hash_to_64(text, size)
    return _hash_long(text, size)


def _word(text: bytes, start: int, size: int = 8) -> int:
    return int.from_bytes(text[start : start + size], "little")


def _rotate(value: int, shift: int) -> int:
    value &= _MASK
    return (value >> shift | value << (64 - shift)) & _MASK


def _mix(value: int) -> int:
    value &= _MASK
    return value ^ value >> 47


def _join(u: int, v: int, factor: int) -> int:
    a = _mix((u ^ v) * factor)
    return _mix((v ^ a) * factor) * factor & _MASK


def _hash_to_16(text: bytes, size: int) -> int:
    factor = _K2 + size * 2
    if size >= 8:
        a, b = _word(text, 0) + _K2 & _MASK, _word(text, size - 8)
        c = _rotate(b, 37) * factor + a & _MASK
        d = (_rotate(a, 25) + b) * factor & _MASK
        return _join(c, d, factor)
    if size >= 4:
        return _join(size + (_word(text, 0, 4) << 3), _word(text, size - 4, 4), factor)
    if size == 0:
        return _K2
    y = text[0] + (text[size >> 1] << 8)
    z = size + (text[size - 1] << 2)
    return _mix(y * _K2 ^ z * _K0) * _K2 & _MASK


def _ends(text: bytes, size: int, first_factor: int) -> tuple[int, int, int]:
    """Return what the first and last 16 bytes add up to, and the first 8 of them alone."""
    factor = _K2 + size * 2
    a, b = _word(text, 0) * first_factor & _MASK, _word(text, 8)
    c, d = _word(text, size - 8) * factor & _MASK, _word(text, size - 16) * _K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d & _MASK
    return y, a + _rotate(b + _K2, 18) + c & _MASK, a


def _hash_to_32(text: bytes, size: int) -> int:
    y, z, _ = _ends(text, size, _K1)
    return _join(y, z, _K2 + size * 2)


def _hash_to_64(text: bytes, size: int) -> int:
    factor = _K2 + size * 2
    y, z, a = _ends(text, size, _K2)
    z = _join(y, z, factor)
    e, f = _word(text, 16) * factor & _MASK, _word(text, 24)
    g = (y + _word(text, size - 32)) * factor & _MASK
    h = (z + _word(text, size - 24)) * factor
    return _join(
        _rotate(e + f, 43) + _rotate(g, 30) + h & _MASK,
        e + _rotate(f + a, 18) + g & _MASK,
        factor,
    )


def _weak(text: bytes, start: int, a: int, b: int) -> _Pair:
    w, x, y, z = (_word(text, start + 8 * index) for index in range(4))
    a += w
    b = _rotate(b + a + z, 21)
    c = a
    a += x + y
    return a + z & _MASK, b + _rotate(a, 44) + c & _MASK


_State = tuple[int, int, int, _Pair, _Pair]


def _round(text: bytes, start: int, state: _State, factor: int, weight: int) -> _State:
    """Take in 64 bytes."""
    x, y, z, v, w = state
    x = _rotate(x + y + v[0] + _word(text, start + 8), 37) * factor
    y = _rotate(y + v[1] + _word(text, start + 48), 42) * factor
    x = (x ^ w[1] * weight) & _MASK
    y = y + v[0] * weight + _word(text, start + 40) & _MASK
    z = _rotate(z + w[0], 33) * factor & _MASK
    v = _weak(text, start, v[1] * factor, x + w[0])
    w = _weak(text, start + 32, z + w[1], y + _word(text, start + 16))
    return z, y, x, v, w


def _hash_long(text: bytes, size: int) -> int:
    y = _SEED * _K1 + 113 & _MASK
    z = _mix(y * _K2 + 113) * _K2 & _MASK
    state: _State = (_SEED * _K2 + _word(text, 0) & _MASK, y, z, (0, 0), (0, 0))
    for start in range(0, (size - 1) // 64 * 64, 64):
        state = _round(text, start, state, _K1, 1)
    # The last 64 bytes overlap with what came before, and are mixed in with a factor of the text's.
    x, y, z, v, w = state
    factor = _K1 + ((z & 0xFF) << 1)
    w = (w[0] + ((size - 1) & 63), w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    x, y, z, v, w = _round(text, size - 64, (x, y, z, v, w), factor, 9)
    return _join(
        _join(v[0], w[0], factor) + _mix(y) * _K0 + z & _MASK,
        _join(v[1], w[1], factor) + x & _MASK,
        factor,
    )
