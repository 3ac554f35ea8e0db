from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score
from sklearn.svm import LinearSVC

from seqae.datasets.sprites import sprites
from seqae.errors import DataError, OptionError, SeqaeWarning
from seqae.generative.disentanglement import DCI, _dci, dci, disentanglement, mig, sap


def grid(*sizes, times=1):
    """Every combination of the factors' values, `times` times over."""
    return np.array(list(itertools.product(*map(range, sizes))) * times)


def noise(rows, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns))


def turned(latents, degrees):
    angle = math.radians(degrees)
    return latents @ [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]


@pytest.fixture(scope="module")
def mixed():
    """Three factors, and four latents that hold them more or less."""
    factors = np.stack([np.random.default_rng(k).integers(size, size=900) for k, size in enumerate((2, 4, 7))], axis=1)
    latents = noise(900, 4, seed=9)
    latents[:, :3] += factors @ [[1.5, 0.2, 0], [0, 0.7, 0.3], [0.1, 0, 0.4]]
    return latents, factors


# ---- truths that hold for all ----


def test_latents_that_are_the_factors_are_perfect():
    factors = grid(3, 4, 5, times=8)
    assert mig(factors, factors) == pytest.approx(1, abs=1e-12)
    assert dci(factors, factors) == pytest.approx(DCI(1, 1, 1), abs=1e-9)
    with_noise = np.hstack([factors, noise(480, 3)])
    assert dci(with_noise, factors) == pytest.approx(DCI(1, 1, 1), abs=0.02)


def test_latents_between_the_factors_are_worth_nothing():
    factors = grid(8, 8, times=30)
    latents = turned(factors - 3.5, 45)
    assert mig(factors, factors) == pytest.approx(1, abs=1e-12)
    assert mig(latents, factors) == pytest.approx(0, abs=0.01)
    assert sap(latents, factors) < 0.03
    found = dci(latents, factors)
    assert found[:2] == pytest.approx((0, 0), abs=0.01)
    assert found.informativeness > 0.99  # all is there, only not in place


def test_mig_falls_as_latents_turn():
    factors = grid(8, 8, times=10)
    found = [mig(turned(factors - 3.5, degrees), factors) for degrees in (0, 5, 15, 45)]
    assert found == sorted(found, reverse=True)


def test_noise_is_worth_nothing():
    factors = grid(3, 4, 5, times=25)
    found = disentanglement(noise(1500, 4), factors)
    for measure in ("mig", "sap", "disentanglement", "completeness"):
        assert found[measure] == pytest.approx(0, abs=0.03)
    assert found["informativeness"] == pytest.approx((1 / 3 + 1 / 4 + 1 / 5) / 3, abs=0.04)


@pytest.mark.parametrize("measure", [mig, sap])
def test_order_of_latents_and_of_factors_and_names_of_values_do_not_count(measure, mixed):
    latents, factors = mixed
    found = measure(latents, factors)
    assert 0.05 < found < 0.6
    assert measure(latents[:, [2, 0, 3, 1]], factors) == pytest.approx(found, abs=1e-12)
    assert measure(latents, factors[:, ::-1]) == pytest.approx(found, abs=1e-12)
    assert measure(latents, 10 * factors - 3) == pytest.approx(found, abs=1e-12)


def test_dci_hardly_depends_on_the_order_of_latents(mixed):
    latents, factors = mixed
    assert dci(latents[:, [2, 0, 3, 1]], factors) == pytest.approx(dci(latents, factors), abs=0.03)


def test_dead_latents_change_nothing(mixed):
    latents, factors = mixed
    more = np.hstack([latents, np.full((900, 1), 0.3), np.zeros((900, 1))])
    assert mig(more, factors) == mig(latents, factors)
    assert sap(more, factors) == sap(latents, factors)
    assert dci(more, factors).disentanglement == pytest.approx(dci(latents, factors).disentanglement, abs=0.03)
    assert [one["weight"] > 0 for one in disentanglement(more, factors)["latents"]] == [True] * 4 + [False] * 2


def test_all_latents_dead():
    factors = grid(3, 4, times=20)
    assert mig(np.ones((240, 3)), factors) == 0
    assert sap(np.ones((240, 3)), factors) == 0
    assert dci(np.ones((240, 3)), factors)[:2] == (0, 0)


def test_a_second_copy_of_each_latent_leaves_no_gap_and_halves_the_importance():
    factors = grid(3, 4, 5, times=10)
    twice = np.hstack([factors, factors])
    assert mig(twice, factors) == 0
    assert sap(twice, factors) == 0
    assert dci(twice, factors) == pytest.approx(DCI(1, 1 - math.log(2) / math.log(6), 1), abs=0.02)


def test_the_same_seed_gives_the_same_and_the_global_state_stays(mixed):
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    first = disentanglement(*mixed, seed=3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert disentanglement(*mixed, seed=3) == first
    assert disentanglement(*mixed, seed=4) != first


# ---- MIG ----


def test_mig_by_hand():
    # Of 8 rows 3 + 3 agree: I = ln 2 − H(1/4), H = ln 2. The second latent knows nothing of the factor.
    factor = np.array([[0, 0, 0, 0, 1, 1, 1, 1]]).T
    good, none = [0.1, 0, 0.2, 0.9, 0.8, 0.7, 1, 0.3], [0, 0, 1, 1, 0, 0, 1, 1]
    expected = 1 + (0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(2)
    assert expected == pytest.approx(0.188722, abs=1e-6)
    assert mig(np.transpose([good]), factor, bins=2) == pytest.approx(expected, abs=1e-12)
    assert mig(np.transpose([good, none]), factor, bins=2) == pytest.approx(expected, abs=1e-12)
    # A latent that is the factor tells all, and the gap is to what the first tells.
    assert mig(np.transpose([good, factor[:, 0]]), factor, bins=2) == pytest.approx(1 - expected, abs=1e-12)


@pytest.mark.parametrize("bins", [2, 20, 50])
def test_mig_is_the_naive_one(mixed, bins):
    latents, factors = mixed
    gaps = []
    for factor in factors.T:
        told = []
        for latent in latents.T:  # the cuts of disentanglement_lib
            told.append(mutual_info_score(factor, np.digitize(latent, np.histogram(latent, bins)[1][:-1])))
        told.sort()
        gaps.append((told[-1] - told[-2]) / mutual_info_score(factor, factor))
    assert mig(latents, factors, bins) == pytest.approx(np.mean(gaps), abs=1e-12)


def test_mig_of_a_single_latent_is_compared_with_nothing():
    factors = grid(2, 3, times=5)
    assert mig(factors[:, :1], factors) == pytest.approx(1 / 2, abs=1e-12)


def test_mig_does_not_depend_on_units(mixed):
    latents, factors = mixed
    assert mig(1e6 * latents - 3, factors) == pytest.approx(mig(latents, factors), abs=1e-12)


# ---- SAP ----


def naive_sap(latents, factors, train_share, seed):
    rows = np.random.default_rng(seed).permutation(len(latents))
    cut = round(train_share * len(latents))
    train, test = rows[:cut], rows[cut:]
    gaps = []
    for factor in factors.T:
        right = []
        for latent in latents.T:
            machine = LinearSVC(C=0.01, class_weight="balanced").fit(latent[train, None], factor[train])
            right.append(np.mean(machine.predict(latent[test, None]) == factor[test]))
        right.sort()
        gaps.append(right[-1] - right[-2])
    return np.mean(gaps)


@pytest.mark.parametrize(("train_share", "seed"), [(2 / 3, 0), (0.5, 4)])
def test_sap_is_the_naive_one(mixed, train_share, seed):
    found = sap(*mixed, train_share=train_share, seed=seed)
    assert found == pytest.approx(naive_sap(*mixed, train_share, seed), abs=1e-12)
    assert 0.02 < found < 0.6
    # Of two that know nothing the worse one may be worse than a constant, and counts as it is.
    useless = noise(90, 2, seed), grid(5, times=18)
    assert sap(*useless, train_share=train_share) == pytest.approx(naive_sap(*useless, train_share, 0), abs=1e-12)


def test_sap_of_two_values_is_the_gap_to_half():
    factors = grid(2, 2, times=300)
    latents = 2.0 * factors - 1
    # The right latent is always right, the other one in half of the test rows.
    assert sap(latents, factors) == pytest.approx(1 / 2, abs=0.06)
    assert sap(np.hstack([latents, latents]), factors) == 0


def test_sap_of_a_single_latent_is_compared_with_a_constant_one():
    factors = grid(2, times=600)
    assert sap(noise(1200, 1), factors) < 0.05
    assert sap(2.0 * factors - 1, factors) == pytest.approx(1 / 2, abs=0.06)


# ---- DCI ----


def test_dci_by_hand():
    # Factor 1 in latent 1; factor 2 in latents 2 and 3 alike; latent 4 unused.
    found = _dci(np.array([[1, 0], [0, 0.5], [0, 0.5], [0, 0]]), np.array([1, 0.5]))
    assert found == pytest.approx(DCI(1, (1 + 1 - math.log(2) / math.log(4)) / 2, 0.75), abs=1e-12)
    # Latent 1 shares itself 3 : 1 among the factors and has a weight of 2 in 3; latent 2 is for one alone.
    found = _dci(np.array([[0.9, 0.3], [0, 0.6]]), np.array([0, 0]))
    shared = 1 + 0.25 * math.log2(0.25) + 0.75 * math.log2(0.75)
    third = 1 + (math.log2(1 / 3) + 2 * math.log2(2 / 3)) / 3
    assert found == pytest.approx(DCI((2 * shared + 1) / 3, (1 + third) / 2, 0), abs=1e-12)


def test_one_latent_is_complete_and_one_factor_is_disentangled():
    factors = grid(3, 4, times=20)
    assert dci(factors[:, :1], factors).completeness == 1
    assert dci(factors[:, :1], factors).disentanglement == 0  # it is asked for both
    assert dci(factors, factors[:, :1]) == pytest.approx(DCI(1, 1, 1), abs=1e-9)


def test_dci_hardly_depends_on_the_number_of_rows():
    found = []
    for rows in (600, 4800):
        factors = grid(3, 4, 5, times=rows // 60)
        whitened = (factors - factors.mean(axis=0)) / factors.std(axis=0)
        found.append(dci(np.hstack([whitened + 0.4 * noise(rows, 3), noise(rows, 2, seed=1)]), factors))
    assert 0.7 < found[0].disentanglement < 0.95
    assert found[0] == pytest.approx(found[1], abs=0.07)


# ---- all of them ----


def test_everything_at_once(mixed):
    latents, factors = mixed
    found = disentanglement(latents, factors, ["kind", "width", "place"], bins=15, train_share=0.6, seed=2)
    assert json.loads(json.dumps(found)) == found
    assert found["mig"] == mig(latents, factors, 15)
    assert found["sap"] == sap(latents, factors, train_share=0.6, seed=2)
    assert DCI(*(found[part] for part in DCI._fields)) == dci(latents, factors, train_share=0.6, seed=2)
    assert list(found["factors"]) == ["kind", "width", "place"]
    assert found["left_out"] == []
    parts = found["factors"].values()
    for measure in ("mig", "sap", "completeness", "informativeness"):
        assert np.mean([part[measure] for part in parts]) == pytest.approx(found[measure], abs=1e-12)
    assert [part["latent"] for part in parts] == [0, 1, 2]
    assert [part["entropy"] for part in parts] == pytest.approx(np.log([2, 4, 7]), abs=0.01)
    assert [part["chance"] for part in parts] == pytest.approx([1 / 2, 1 / 4, 1 / 7], abs=0.08)
    held = sum(latent["weight"] * latent["disentanglement"] for latent in found["latents"])
    assert held == pytest.approx(found["disentanglement"], abs=1e-12)
    assert sum(latent["weight"] for latent in found["latents"]) == pytest.approx(1, abs=1e-12)


def test_the_factors_of_sprites_are_told_by_themselves_and_not_by_one_another():
    made = sprites(2000, size=16, positions=5)
    found = disentanglement(made.factors[:, [4, 3, 2, 1, 0]], made.factors, made.names)
    assert found["mig"] > 0.99
    assert found["disentanglement"] > 0.99
    assert [part["latent"] for part in found["factors"].values()] == [4, 3, 2, 1, 0]


def test_a_factor_of_one_value_is_left_out_and_said_so():
    made = sprites(size=16, shapes=["heart"], rotations=3, positions=4)
    rest = made.factors[:, 1:]
    for measure in (mig, sap, dci):
        with pytest.warns(SeqaeWarning, match="left out: factor 1 of 5 has only one value"):
            found = measure(made.factors, made.factors)
        assert found == measure(made.factors, rest)
    found = disentanglement(made.factors, made.factors, made.names)
    assert found["left_out"] == ["shape"]
    assert list(found["factors"]) == ["scale", "rotation", "x", "y"]
    assert found["mig"] == mig(made.factors, rest)


# ---- what cannot be measured ----

LATENTS, FACTORS = noise(60, 2), grid(3, 4, times=5)


@pytest.mark.parametrize("measure", [mig, sap, dci, disentanglement])
@pytest.mark.parametrize(
    ("latents", "factors", "message"),
    [
        (LATENTS[:, 0], FACTORS, r"the latents have the shape \(60,\); they need \(N, Z\)"),
        (LATENTS, FACTORS[:, 0], r"the factors have the shape \(60,\); they need \(N, F\)"),
        (LATENTS[:, :0], FACTORS, r"the latents have the shape \(60, 0\)"),
        (LATENTS[:0], FACTORS[:0], r"the latents have the shape \(0, 2\)"),
        (LATENTS[:50], FACTORS, "50 rows of latents and 60 of factors"),
        (np.where(np.arange(60)[:, None] < 3, np.nan, LATENTS), FACTORS, "3 of 60 rows of latents are missing"),
        (np.where(np.arange(60)[:, None] < 1, np.inf, LATENTS), FACTORS, "1 of 60 rows of latents are missing or inf"),
        (LATENTS, FACTORS / 2, "the factors are of the type float64; they need whole numbers"),
        (LATENTS.astype(str), FACTORS, "the latents are of the type <U32; they need real numbers"),
        (LATENTS, 0 * FACTORS, "none of the 2 factors has more than one value"),
    ],
)
def test_what_cannot_be_measured_says_so(measure, latents, factors, message):
    with pytest.raises(DataError, match=message):
        measure(latents, factors)


@pytest.mark.parametrize("measure", [sap, dci])
def test_too_few_rows_to_train_on(measure):
    with pytest.raises(DataError, match="each factor must take two values in training"):
        measure(LATENTS, FACTORS, train_share=0.999)
    with pytest.raises(DataError, match="each factor must take two values in training"):
        measure(LATENTS, FACTORS, train_share=0.01)
    with pytest.raises(DataError, match="12 rows to train on are too few for DCI, which needs 20"):
        dci(LATENTS, FACTORS, train_share=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 1}, "bins=1 is not possible. Give a whole number of at least 2"),
        ({"bins": 2.5}, "bins=2.5 is not possible"),
        ({"train_share": 1}, "train_share=1 is not a share"),
        ({"train_share": math.nan}, "train_share=nan is not a share"),
        ({"seed": -1}, "seed=-1 is not possible"),
        ({"seed": 2**32}, "seed=4294967296 is not possible"),
    ],
)
def test_impossible_options_say_so(options, message):
    with pytest.raises(OptionError, match=message):
        disentanglement(LATENTS, FACTORS, **options)


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", "b", "c"]])
def test_each_factor_needs_a_name(names):
    with pytest.raises(DataError, match="Give a different name for each factor"):
        disentanglement(LATENTS, FACTORS, names)
