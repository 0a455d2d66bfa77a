"""The Universal Scalability Law, fitted to rates."""

from __future__ import annotations

import pytest

from scalability import fit
from vaultstream.scaling.curve import Curve

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("counts", [range(1, 4), range(1, 9)])
def test_rates_of_a_curve_give_that_curve(counts: range) -> None:
    curve = Curve(40_000, 0.06, 0.002)
    fitted = fit({signers: curve(signers) for signers in counts})
    assert (fitted.rate, fitted.contention, fitted.coherence) == pytest.approx((40_000, 0.06, 0.002))


def test_two_rates_give_the_contention_alone() -> None:
    fitted = fit({1: 100.0, 2: 160.0})
    assert (fitted.rate, fitted.contention, fitted.coherence) == pytest.approx((100.0, 0.25, 0.0))
    assert fitted(2) == pytest.approx(160.0)


def test_signers_that_seem_to_help_each_other_have_no_contention() -> None:
    fitted = fit({1: 100.0, 2: 204.0, 3: 306.0})
    assert (fitted.contention, fitted.coherence) == (0.0, 0.0)
    assert fitted.rate == pytest.approx(101.3, abs=0.1)


def test_one_rate_is_no_curve() -> None:
    with pytest.raises(ValueError, match="two numbers of signers"):
        fit({1: 100.0})
