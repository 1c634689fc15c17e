"""What a SETTINGS frame says (RFC 9113, section 6.5)."""

from gateway.http2.demands import require
from gateway.http2.frames import (
    DEFAULT_FRAME_BYTES,
    MAX_WINDOW,
    SETTING,
    ErrorCode,
    Setting,
)

MAX_SETTINGS = 32
"""In one frame; there are nine kinds."""


def read_settings(payload: bytes) -> dict[int, int]:
    """Return the parameters of a SETTINGS frame, the last of each. Raises ProtocolError."""
    is_whole = len(payload) % SETTING.size == 0
    require(is_whole, "SETTINGS of a broken length", ErrorCode.FRAME_SIZE_ERROR)
    is_bounded = len(payload) <= MAX_SETTINGS * SETTING.size
    require(is_bounded, "too many settings", ErrorCode.ENHANCE_YOUR_CALM)
    told: dict[int, int] = {}
    for parameter, value in SETTING.iter_unpack(payload):
        _check(parameter, value)
        told[parameter] = value
    return told


def _check(parameter: int, value: int) -> None:
    """Raise ProtocolError for a value that section 6.5.2 forbids."""
    if parameter == Setting.ENABLE_PUSH:
        require(value <= 1, "a push that is neither on nor off")
    elif parameter == Setting.INITIAL_WINDOW_SIZE:
        require(value <= MAX_WINDOW, "a window too wide", ErrorCode.FLOW_CONTROL_ERROR)
    elif parameter == Setting.MAX_FRAME_SIZE:
        require(DEFAULT_FRAME_BYTES <= value < 2**24, "a frame size out of range")
