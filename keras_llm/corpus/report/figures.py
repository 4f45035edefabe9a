"""Numbers as a person reads them."""

UNITS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


def short_count(number: int) -> str:
    """A count in three digits and a unit, e.g. `"12.4 M"`.

    Example:
        >>> [short_count(n) for n in (7, 9_999, 12_400_000, 999_999)]
        ['7', '9,999', '12.4 M', '1.00 M']
    """
    if abs(number) < 10_000:
        return f"{number:,}"
    size, unit = next(u for u in UNITS if abs(number) >= 0.9995 * u[0])
    value = number / size
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def percent(part: float, whole: float) -> str:
    """A share; 0% means none and 100% means all.

    Example:
        >>> [percent(n, 10_000) for n in (0, 1, 1_234, 9_999, 10_000)]
        ['0%', '<0.1%', '12.3%', '>99.9%', '100%']
    """
    share = part / whole if whole else 0.0
    if share in (0, 1):
        return f"{share:.0%}"
    if share < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < share < 1 else f"{share:.1%}"
