"""Totals over all rows from rows at some places: two-stage sampling with a fit.

The rows fall into equal stretches (strata), and each gives one place: a run of rows at random.
Of all documents there the cheap numbers are known (first stage), of a few the expensive ones (second
stage). How these follow from those is fitted on the latter and applied to the former; what the
fit leaves over is added, so the estimate is right on average even where the fit is poor.

Särndal, Swensson and Wretman, Model Assisted Survey Sampling (1992): section 4.3 (two stages),
6.4 (regression estimator). With one place a stratum the variance between places is that of
successive differences (Wolter, Introduction to Variance Estimation (2007), section 8.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from embed_corpus.report.plan import Bin, Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embed_corpus.source.sample import Places

__all__ = ["fitted_totals", "length_bins", "measured_total"]

_BINS = 10


def measured_total(places: Places, at: NDArray[np.int64], values: NDArray[np.float64]) -> Estimate:
    """Estimate the total of numbers that are known of every document at the places.

    `at` int64[n] and `values` float64[n] are each document's place and number; rows that are
    no document count 0.
    """
    means = np.bincount(at, values, len(places.rows)) / np.maximum(places.sizes, 1)
    return _total(places, means, int(places.sizes.sum()), within=0.0)


def fitted_totals(
    places: Places,
    taken: NDArray[np.int64],
    first: tuple[NDArray[np.int64], NDArray[np.float64]],
    second: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]],
) -> list[Estimate]:
    """Estimate the totals of numbers that are known of some documents at the places.

    Args:
        places: rows of the first stage.
        taken: int64[places], rows of the second stage at each place.
        first: place int64[n] and features float64[n, f] of each document of the first stage.
        second: place int64[m], features float64[m, f] and numbers float64[m, v] of the second.

    Returns:
        One estimate a number; exact if all rows are in the second stage.
    """
    at, features = first
    at_second, features_second, values = second
    if not len(values):
        return [Estimate(0.0)] * values.shape[1]
    # A document twice as large may be twice as far off: without weights the few largest would decide the line.
    root = np.sqrt(features_second.sum(axis=1, keepdims=True))
    basis, triangle = np.linalg.qr(features_second / root)
    factors = np.linalg.pinv(triangle) @ basis.T @ (values / root)
    left = values - features_second @ factors
    # The line follows a large document, which hides how far off it is: MacKinnon and White (1985), HC3.
    bare = left / np.maximum(1 - (basis**2).sum(axis=1, keepdims=True), 0.1)
    expected = features @ factors
    n = len(places.rows)
    totals = []
    for predicted, over, alone in zip(expected.T, left.T, bare.T, strict=True):
        means = np.bincount(at, predicted, n) / places.sizes + np.bincount(at_second, over, n) / taken
        n_taken = int(taken.sum())
        spread = float((alone**2).sum()) / n_taken
        unseen = 1 - n_taken / int(places.sizes.sum())
        totals.append(_total(places, means, n_taken, within=unseen * spread / n_taken))
    return totals


def _total(places: Places, means: NDArray[np.float64], n: int, *, within: float) -> Estimate:
    """Add up the strata from their means a row; `within` is the variance of the mean inside the places.

    Of `n` rows that are all alike the next may still differ: the error is that of one mean row at least.
    """
    strata = np.diff(places.edges)
    rows = int(strata.sum())
    value = float((strata * means).sum())
    if n == rows:
        return Estimate(float(round(value)))
    share = int(places.sizes.sum()) / rows
    between = float((np.diff(means) ** 2).sum()) / (2 * max(len(means) - 1, 1)) / len(means)
    variance = max((1 - share) * between + share * within, (1 - n / rows) * (value / rows / n) ** 2)
    return Estimate(value, rows * variance**0.5)


def length_bins(lengths: NDArray[Any], total: float) -> tuple[Bin, ...]:
    """Count lengths by powers of two and scale the counts up to `total`; the emptier ends are joined to ten bins."""
    if not len(lengths):
        return ()
    power = np.ceil(np.log2(np.maximum(lengths, 1))).astype(int)
    first, last = int(power.min()), int(power.max())
    counts = np.bincount(power - first, minlength=last - first + 1).tolist()
    least = 1 if first == 0 else 2 ** (first - 1) + 1
    while len(counts) > _BINS:
        if counts[0] <= counts[-1]:
            counts[:2], first = [counts[0] + counts[1]], first + 1
        else:
            counts[-2:] = [counts[-2] + counts[-1]]
    factor = total / len(lengths)
    tops = [2 ** (first + i) for i in range(len(counts) - 1)] + [2**last]
    floors = [least] + [top + 1 for top in tops[:-1]]
    return tuple(Bin(low, top, count * factor) for low, top, count in zip(floors, tops, counts, strict=True))
