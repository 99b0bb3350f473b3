"""Numbers with their units, as a person reads them."""

from __future__ import annotations

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def size(count: int) -> str:
    """Write bytes in decimal units, as registries and disks count them: `71.3 MB`."""
    value = float(count)
    for unit in _SIZES[:-1]:
        if round(value) < 1000:
            return f"{count} B" if unit == "B" else f"{_short(value)} {unit}"
        value /= 1000
    return f"{_short(value)} {_SIZES[-1]}"


def rate(bytes_a_second: float) -> str:
    """Write a rate in the unit in which it was most likely given: `20 MiB/s`, `500 kB/s`."""
    if bytes_a_second % 1000:
        for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
            value = bytes_a_second / 2**power
            if value >= 1 and round(value, 1) == value:
                return f"{value:g} {unit}/s"
    return f"{size(round(bytes_a_second))}/s"


def duration(seconds: float) -> str:
    """Write a time in at most two units: `6.2 s`, `4 min 11 s`, `1 h 2 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{_tenths(seconds)} s"
    if whole < 3600:
        return _two(whole // 60, "min", whole % 60, "s")
    minutes = round(seconds / 60)
    return _two(minutes // 60, "h", minutes % 60, "min")


def count(number: int, noun: str) -> str:
    """Write a number with its noun: `1 image`, `12 images`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _short(value: float) -> str:
    return f"{value:.1f}" if round(value, 1) < 100 else f"{value:.0f}"


def _tenths(value: float) -> str:
    return f"{value:.1f}" if round(value, 1) < 10 else f"{value:.0f}"


def _two(large: int, unit: str, small: int, smaller: str) -> str:
    return f"{large} {unit} {small} {smaller}" if small else f"{large} {unit}"
