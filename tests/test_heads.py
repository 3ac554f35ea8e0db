"""Every score head against its formula, written out with NumPy, SciPy or scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA

from seqae.anomaly import neighbours
from seqae.anomaly.neighbours import REFERENCES, nearest, reference_windows
from seqae.anomaly.scoring import SCORERS, head_of
from seqae.errors import DataError, OptionError
from seqae.models import AE, VAE
from seqae.windows import Batch, WindowSet

W, C = 10, 3


def rows(count, seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.standard_normal((count, C)), axis=0) * 0.3 + rng.standard_normal((count, C))
    values[rng.random(values.shape) < missing] = np.nan
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = VAE(channels=C, latent=4, hidden=8)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return model.eval()


@pytest.fixture(scope="module")
def normal():
    return WindowSet([rows(200)], window=W)


def learned(name, model, normal):
    head = head_of(name)
    head.learn(model, normal, reference_windows(normal))
    return head


def batch_of(count=6, seed=5, missing=0.0):
    x = torch.from_numpy(np.stack([rows(W, seed + k, missing) for k in range(count)]))
    return Batch(x.nan_to_num(0.0), ~x.isnan())


def run(name, model, normal, batch):
    head = learned(name, model, normal)
    with torch.no_grad():
        return head.parts(model, batch, model(batch.x, batch.observed)).numpy()


def windows_of(normal):
    return np.lib.stride_tricks.sliding_window_view(rows(200), W, axis=0).swapaxes(1, 2)


@pytest.mark.parametrize("name", SCORERS)
def test_what_a_head_has_learned_is_kept(name, model, normal):
    batch = batch_of(missing=0.1)
    head, again = learned(name, model, normal), head_of(name)
    again.restore({key: part.clone() for key, part in head.state().items()}, torch.device("cpu"))
    with torch.no_grad():
        output = model(batch.x, batch.observed)
        np.testing.assert_array_equal(head.parts(model, batch, output), again.parts(model, batch, output))


@pytest.mark.parametrize("name", SCORERS)
def test_a_window_s_score_does_not_depend_on_the_others(name, model, normal):
    batch = batch_of()
    together = run(name, model, normal, batch)
    alone = np.concatenate(
        [run(name, model, normal, Batch(batch.x[k : k + 1], batch.observed[k : k + 1])) for k in range(6)]
    )
    np.testing.assert_allclose(together, alone, rtol=2e-4, atol=2e-5)


def test_window_scores_are_means_over_the_observed_steps(model, normal):
    batch = batch_of(missing=0.2)
    single = run("squared_error", model, normal, batch)
    seen = batch.observed.numpy()
    expected = np.where(seen, single, 0).sum(1) / seen.sum(1)
    np.testing.assert_allclose(run("window_error", model, normal, batch)[:, 0], expected, rtol=1e-5)


def test_energy_is_the_squared_distance_from_the_mean_in_variances(model, normal):
    windows, batch = windows_of(normal).astype(np.float64), batch_of()
    mean, variance = windows.mean((0, 1)), windows.var((0, 1))
    np.testing.assert_allclose(
        run("energy", model, normal, batch), (batch.x.numpy() - mean) ** 2 / variance, rtol=1e-4, atol=1e-5
    )


def test_mahalanobis_sums_to_the_distance_of_the_error_vector(model, normal):
    with torch.no_grad():
        known = torch.from_numpy(windows_of(normal).copy())
        errors = (known - model(known).likelihood.mean).numpy().reshape(-1, C).astype(np.float64)
        batch = batch_of()
        own = (batch.x - model(batch.x).likelihood.mean).numpy().astype(np.float64)
    centre = errors.mean(0)
    precision = np.linalg.inv(ledoit_wolf(errors - centre, assume_centered=True)[0])
    expected = np.einsum("bwi,ij,bwj->bw", own - centre, precision, own - centre)
    np.testing.assert_allclose(run("mahalanobis", model, normal, batch).sum(-1), expected, rtol=1e-3)


def test_the_reconstruction_probability_is_the_mean_over_draws_of_z(model, normal):
    batch, head = batch_of(), head_of("reconstruction_probability")
    noise = torch.randn(head.draws, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = model(batch.x)
        each = []
        for one in noise:
            z = output.latent.mean + torch.exp(0.5 * output.latent.log_var) * one
            location, extra = model.decoder(z, W, None, None, None, None)
            each.append(-model.likelihood(location, extra).log_prob(batch.x))
        found = head.parts(model, batch, output)
    np.testing.assert_allclose(found, torch.stack(each).mean(0), rtol=1e-5, atol=1e-5)
    point = AE(channels=C, latent=2, hidden=4)
    with pytest.raises(OptionError, match="which an AE does not"), torch.no_grad():
        head.parts(point, batch, point(batch.x))


@pytest.mark.parametrize(("name", "centred"), [("nearest_window", False), ("nearest_shape", True)])
def test_neighbours_are_those_of_a_search_through_all(model, normal, name, centred):
    known, batch = windows_of(normal).astype(np.float64), batch_of()
    x = batch.x.numpy().astype(np.float64)
    if centred:
        known, x = known - known.mean(1, keepdims=True), x - x.mean(1, keepdims=True)
    distance = cdist(x.reshape(len(x), -1), known.reshape(len(known), -1), "sqeuclidean")
    found = run(name, model, normal, batch)
    np.testing.assert_allclose(found.mean(-1)[:, 0], distance.min(1) / (W * C), rtol=1e-4)
    best = known[distance.argmin(1)]
    np.testing.assert_allclose(found[:, 0], ((x - best) ** 2).mean(1), rtol=1e-3, atol=1e-6)


def test_a_window_seen_in_training_is_at_no_distance_and_its_level_is_no_shape(model, normal):
    batch = normal.gather(torch.tensor([7, 90]))
    assert np.abs(run("nearest_window", model, normal, batch)).max() < 1e-10
    raised = Batch(batch.x + 50, batch.observed)
    assert run("nearest_shape", model, normal, raised).max() < 1e-6
    assert run("nearest_window", model, normal, raised).min() > 1000


def test_missing_values_of_a_neighbour_or_the_window_differ_from_none(model):
    values = rows(60)
    values[20:24, 1] = np.nan
    normal = WindowSet([values], window=W)
    batch = normal.gather(torch.tensor([18]))
    assert not batch.observed.all()
    assert np.abs(run("nearest_window", model, normal, batch)).max() < 1e-10


@pytest.mark.parametrize("lacking", [0.0, 0.2])
@pytest.mark.parametrize(("name", "centred"), [("nearest_window", False), ("nearest_shape", True)])
def test_windows_with_holes_are_compared_where_both_have_a_value(model, name, centred, lacking):
    values = rows(80, missing=lacking)
    normal, batch = WindowSet([values], window=W), batch_of(missing=0.3)
    known = np.lib.stride_tricks.sliding_window_view(values, W, axis=0).swapaxes(1, 2).astype(np.float64)
    x = np.where(batch.observed, batch.x, np.nan).astype(np.float64)
    off = x[:, None] - known[None]  # NaN where either has none
    level = np.nanmean(off, axis=2, keepdims=True)
    squares = (off - level if centred else off) ** 2
    best = np.nanmean(squares, axis=(2, 3)).argmin(1)
    expected = np.nanmean(squares[np.arange(len(x)), best], axis=1)
    np.testing.assert_allclose(run(name, model, normal, batch)[:, 0], np.nan_to_num(expected), rtol=1e-3, atol=1e-5)


def test_latent_neighbours_are_counted_in_standard_deviations(model, normal):
    batch = batch_of()
    with torch.no_grad():
        known = model(torch.from_numpy(windows_of(normal).copy())).latent.mean.numpy().astype(np.float64)
        z = model(batch.x).latent.mean.numpy().astype(np.float64)
    spread = known.std(0)
    expected = cdist(z / spread, known / spread, "sqeuclidean").min(1) / 4
    found = run("nearest_latent", model, normal, batch)
    assert found.shape == (6, 1, 1)
    np.testing.assert_allclose(found[:, 0, 0], expected, rtol=1e-3, atol=1e-5)


def test_window_pca_is_the_residual_of_scikit_learn_s(model, normal):
    known, batch = windows_of(normal).reshape(-1, W * C).astype(np.float64), batch_of()
    pca = PCA(n_components=0.99, svd_solver="full").fit(known)
    x = batch.x.numpy().reshape(6, -1).astype(np.float64)
    left = (x - pca.inverse_transform(pca.transform(x))).reshape(6, W, C)
    np.testing.assert_allclose(run("window_pca", model, normal, batch)[:, 0], (left**2).mean(1), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("missing", [0.1, 0.3, 0.9])
def test_a_window_with_holes_is_projected_by_what_it_has(model, normal, missing):
    known, batch = windows_of(normal).reshape(-1, W * C).astype(np.float64), batch_of(missing=missing)
    pca = PCA(n_components=0.99, svd_solver="full").fit(known)
    gone = (~batch.observed).sum((1, 2))
    assert (gone > 0).all()
    assert bool((gone >= len(pca.components_)).any()) == (missing == 0.9), "fewer are missing than components, or more"
    found = run("window_pca", model, normal, batch)
    for window, observed, parts in zip(batch.x.numpy(), batch.observed.numpy(), found[:, 0], strict=True):
        basis, off = pca.components_[:, observed.ravel()], (window.ravel() - pca.mean_)[observed.ravel()]
        place = np.linalg.solve(basis @ basis.T + 0.01 * np.eye(len(basis)), basis @ off)
        left = np.full(W * C, np.nan)
        left[observed.ravel()] = (off - place @ basis) ** 2
        for part, own in zip(parts, left.reshape(W, C).T, strict=True):
            if not np.isnan(own).all():
                assert part == pytest.approx(np.nanmean(own), rel=2e-2, abs=2e-4)


def test_references_are_bounded_full_and_of_every_alignment(normal):
    many = WindowSet([np.zeros((60_000, 1), dtype=np.float32)], window=16)
    chosen = reference_windows(many)
    assert len(chosen) == REFERENCES
    assert len(set(chosen.tolist())) == REFERENCES
    assert set((chosen % 16).tolist()) == set(range(16))
    assert torch.equal(reference_windows(many), chosen)
    assert torch.equal(reference_windows(normal), torch.arange(len(normal)))
    short = WindowSet([np.zeros((5, 1), dtype=np.float32)], window=16, ragged=True)
    with pytest.raises(DataError, match="Use a shorter window"):
        reference_windows(short)


def test_the_nearest_come_first_and_there_are_no_more_than_there_are():
    known, x = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[0.9], [4.0]])
    assert nearest(known, x, 2).tolist() == [[1, 0], [2, 1]]
    assert nearest(known, x, 9).shape == (2, 3)
    assert nearest(known, x[:0]).shape == (0, 1)


@pytest.mark.parametrize("wide", [5, 200])
@pytest.mark.parametrize("count", [1, 2, 63, 130])
def test_the_nearest_are_those_of_all_distances_however_many_are_held(count, wide, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    known, x = torch.randn(90, wide, generator=generator), torch.randn(count, wide, generator=generator)
    x[0] = known[7]
    for held in (90, 90 * 16, 1 << 24):
        monkeypatch.setattr(neighbours, "_CACHED", held)
        monkeypatch.setattr(neighbours, "_DISTANCES", held)
        assert nearest(known, x)[:, 0].tolist() == cdist(x, known).argmin(1).tolist()
        np.testing.assert_array_equal(nearest(known, x, 3), np.argsort(cdist(x, known), axis=1)[:, :3])


@pytest.mark.parametrize("name", ["nearest_window", "nearest_shape"])
def test_what_is_kept_for_windows_with_holes_changes_nothing(name, model, monkeypatch):
    normal, batch = WindowSet([rows(200, missing=0.05)], window=W), batch_of(70, missing=0.1)
    kept = run(name, model, normal, batch)
    monkeypatch.setattr(neighbours, "_KEPT", 0)
    np.testing.assert_array_equal(run(name, model, normal, batch), kept)
