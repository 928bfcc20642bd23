"""Chance: how far two samples of one distribution lie apart, so that drift is told from noise."""

import math
from functools import lru_cache


def ks_bound(n: int, m: int, alpha: float) -> float:
    """Give what the Kolmogorov-Smirnov distance of samples of n and m values exceeds with probability alpha at most.

    The asymptotic form, which errs on the safe side for small samples and for ties.
    """
    return min(1.0, math.sqrt(-math.log(alpha / 2) / 2 * (1 / n + 1 / m)))


def psi_bound(n: int, m: int, bins: int, alpha: float) -> float:
    """Give what the PSI of samples of n and m values in `bins` bins exceeds with probability alpha, about.

    PSI is (1/n + 1/m) times a chi-square of bins - 1 degrees, without drift (Yurdakul and Naranjo 2020).
    """
    return (1 / n + 1 / m) * chi_square_quantile(1 - alpha, bins - 1) if bins > 1 else 0.0


@lru_cache(maxsize=256)  # a comparison asks the same for most of its columns
def chi_square_quantile(q: float, degrees: int) -> float:
    """Invert the chi-square distribution, by bisection to 1e-10 relative."""
    low, high = 0.0, max(1.0, float(degrees))
    while _lower_gamma(degrees / 2, high / 2) < q:
        high *= 2
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _lower_gamma(degrees / 2, middle / 2) < q else (low, middle)
    return high


def _lower_gamma(shape: float, x: float) -> float:
    """Give the regularised lower incomplete gamma function: a series below shape + 1, a continued fraction above.

    After Numerical Recipes, section 6.2 (the fraction by Lentz's method).
    """
    if x <= 0:
        return 0.0
    scale = math.exp(-x + shape * math.log(x) - math.lgamma(shape))
    if x < shape + 1:
        term = total = 1 / shape
        step = shape
        while abs(term) > abs(total) * 1e-16:
            step += 1
            term *= x / step
            total += term
        return total * scale
    tiny = 1e-300
    b = x + 1 - shape
    c, d = 1 / tiny, 1 / b
    fraction = d
    for i in range(1, 10_000):
        a = -i * (i - shape)
        b += 2
        d = 1 / (a * d + b or tiny)
        c = b + a / c or tiny
        fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return 1 - scale * fraction
