"""Means, spreads, differences and hours against numpy and by hand."""

import numpy as np
import pytest

from assimilate.pages.numbers import PaperNumber, hours_text, shared_seconds, signed, spread


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_the_spread_over_seeds_is_the_sample_standard_deviation(n):
    values = np.random.default_rng(n).normal(92.5, 0.3, n)
    ours = spread(values.tolist())
    assert ours.mean == pytest.approx(values.mean(), abs=1e-12)
    assert ours.std == pytest.approx(values.std(ddof=1), rel=1e-12)
    assert ours.std != pytest.approx(values.std(ddof=0), rel=1e-3)
    assert ours.n == n


def test_one_seed_has_no_spread():
    assert spread([92.5]).std is None
    assert spread([92.5]).text(2) == "92.50 (1)"
    with pytest.raises(ValueError, match="no value"):
        spread([])


def test_numbers_are_written_as_the_paper_does():
    assert PaperNumber("92.90").text == "92.90"
    assert PaperNumber("92.898", "0.045").text == "92.898 ± 0.045"
    assert PaperNumber("92.898", "0.045").decimals == 3
    assert spread([92.0, 93.0]).text(2) == "92.50 ± 0.71 (2)"
    assert [spread([value]).text(2) for value in (-0.001, -0.5)] == ["0.00 (1)", "−0.50 (1)"]


def test_differences_keep_their_sign_and_lose_it_at_nothing():
    assert [signed(value, 2) for value in (-0.4, 0.126, 0.0, -0.004)] == ["−0.40", "+0.13", "0.00", "0.00"]


def test_what_runs_share_is_counted_once():
    runs = [{"generators/g": 100.0, "encoders/a": 10.0}, {"generators/g": 100.0, "encoders/b": 20.0}]
    assert shared_seconds(runs) == 130.0


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (0.0, "0"),
        (1e-5, "<0.001"),
        (0.0123, "0.012"),
        (0.5, "0.50"),
        (1.234, "1.23"),
        (12.19, "12.2"),
        (1234.5, "1,234"),
    ],
)
def test_hours(hours, text):
    assert hours_text(hours * 3600) == text
