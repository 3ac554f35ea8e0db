"""Score heads that remember normal windows: nearest neighbours, in raw and in latent space, and the principal subspace.

The windows are a random choice of bounded size of those that the model was trained on.
"""

from __future__ import annotations

__all__ = ["REFERENCES", "NearestLatent", "NearestWindow", "WindowPCA", "nearest", "reference_windows"]

from collections.abc import Mapping
from typing import NamedTuple, Self

import torch
from torch import Tensor

from seqae.anomaly.heads import Head, blocks, mean_observed, outputs
from seqae.errors import DataError
from seqae.models import Autoencoder, Output
from seqae.windows import Batch, WindowSet

REFERENCES = 4096
"""Windows that are kept at most."""
RIDGE = 1e-2
"""What is added to the diagonal of the normal equations, which are the identity for a window without holes."""
_DISTANCES = 1 << 24
"""Distances that are held at a time."""
_CACHED, _NARROW = 1 << 19, 128
"""Distances that are held at a time between rows of at most so many numbers, on the CPU."""
_KEPT = 1 << 24
"""Numbers of normal windows up to which they are kept in the orders, too, that windows with holes are compared in."""


def reference_windows(windows: WindowSet, most: int = REFERENCES, seed: int = 0) -> Tensor:
    """Return the numbers (M,) of at most `most` full windows, a random choice, so that no alignment is favoured.

    Raises DataError where no window is full.
    """
    generator = torch.Generator().manual_seed(seed)
    if len(windows) <= 4 * most:
        drawn = torch.randperm(len(windows), generator=generator)
    else:  # some more than are wanted, without a list of all
        drawn = torch.randint(len(windows), (4 * most,), generator=generator).unique()
        drawn = drawn[torch.randperm(len(drawn), generator=generator)]
    drawn = drawn.to(windows.device)
    full = drawn[windows.locate(drawn)[1] == windows.window]
    if not len(full):
        raise DataError(f"no series to fit to is as long as window={windows.window}. Use a shorter window.")
    return full[:most].sort().values


def nearest(known: Tensor, x: Tensor, k: int = 1, *, size: Tensor | None = None) -> Tensor:
    """Return the places (B, k) of the k rows of known (M, D) nearest to each row of x (B, D), the nearest first.

    By |x|² + |y|² − 2xy, in blocks; k is at most M. size: |y|² (M,), where it is known already.
    """
    known, x, k = known.detach(), x.detach(), min(k, len(known))
    size = known.square().sum(1) if size is None else size
    if not len(x):
        return torch.empty(0, k, dtype=torch.long, device=x.device)
    # Few at a time are looked through while they are in the cache; wide rows gain more from one large product.
    held = _CACHED if x.is_cpu and x.shape[1] <= _NARROW else _DISTANCES
    blocks, found = x.tensor_split(-(-len(x) * len(known) // held)), []
    room = x.new_empty(len(blocks[0]), len(known))
    for block in blocks:  # of nearly the same size: very few rows would be multiplied in another order
        distance = torch.addmm(size, block, known.T, alpha=-2.0, out=room[: len(block)])  # |x|² changes no order
        found.append(_lowest(distance)[:, None] if k == 1 else distance.topk(k, largest=False).indices)
    return torch.cat(found)


def _lowest(values: Tensor) -> Tensor:
    """Return where each row (B, M) has its lowest value, the first of several; NumPy is ten times as fast at it."""
    return torch.from_numpy(values.numpy().argmin(1)) if values.is_cpu else values.argmin(1)


class NearestWindow(Head):
    """The mean squared difference from the k nearest of the normal windows, by channel.

    Nearest over all channels and steps together. centred: every channel of a window without its mean, so that only the
    shape counts and not the level. Windows with holes are compared, and centred, where both have a value.
    """

    joint = True

    def __init__(self, k: int = 1, *, centred: bool = False) -> None:
        self.k, self.centred = k, centred
        self._rows, self._starts = torch.empty(0), torch.empty(0)
        self._known: tuple[Tensor, Tensor, Tensor, bool] | None = None
        self._seen: _Seen | None = None

    def learn(self, model: Autoencoder, windows: WindowSet, index: Tensor) -> None:
        # Rows that several windows share are kept once: at most as many as there are.
        places = windows.locate(index)[0][:, None] + torch.arange(windows.window, device=windows.device)
        covered = torch.unique(places)
        places = torch.searchsorted(covered, places)
        self._rows, done = torch.empty(len(covered), windows.channels, device=windows.device), 0
        for batch in blocks(windows, index):
            self._rows[places[done : done + len(batch.x)]] = torch.where(batch.observed, batch.x, torch.nan)
            done += len(batch.x)
        self._starts, self._known = places[:, 0].clone(), None

    def parts(self, model: Autoencoder, batch: Batch, output: Output) -> Tensor:
        if self._known is None:
            taken = self._rows[self._starts[:, None] + torch.arange(batch.x.shape[1], device=self._rows.device)]
            level = self._level(taken.nan_to_num(0.0), ~taken.isnan())
            seen = ~taken.isnan()
            self._known = level, seen, level.square().sum((1, 2)), bool(seen.all())
            self._seen = None
        known, seen, size, complete = self._known
        x = self._level(batch.x, batch.observed)
        total = torch.zeros(len(x), 1, x.shape[2], device=x.device)
        whole = batch.observed.all(2).all(1) & complete
        found = torch.empty(len(x), min(self.k, len(known)), dtype=torch.long, device=x.device)
        found[whole] = nearest(known.flatten(1), x[whole].flatten(1), self.k, size=size)
        if not whole.all():
            known_seen = self._seen or _Seen.of(known, seen, self.centred)
            self._seen = known_seen if known.numel() <= _KEPT else None
            found[~whole] = known_seen.nearest(x[~whole], batch.observed[~whole], self.k)
        for one in found.T:
            both = batch.observed & seen[one]
            total += mean_observed(self._level(x - known[one], both) ** 2, both)
        return total / found.shape[1]

    def _level(self, x: Tensor, observed: Tensor) -> Tensor:
        return torch.where(observed, x - mean_observed(x, observed), 0.0) if self.centred else x

    def state(self) -> dict[str, Tensor]:
        return {"rows": self._rows, "starts": self._starts}

    def restore(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        self._rows, self._starts = state["rows"].to(device), state["starts"].to(device)
        self._known = None


class _Seen(NamedTuple):
    """Normal windows (M, W, C), 0 where nothing was seen, in the orders that windows with holes are compared in.

    known, seen, size: (M, W · C) the windows, 1 where a value was seen, and the windows' squares. by_channel: known and
    seen as (C, W, M), where windows are compared without their means.
    """

    known: Tensor
    seen: Tensor
    size: Tensor
    by_channel: tuple[Tensor, Tensor] | None

    @classmethod
    def of(cls, known: Tensor, seen: Tensor, centred: bool) -> Self:
        s = seen.to(known.dtype)
        turned = (known.permute(2, 1, 0).contiguous(), s.permute(2, 1, 0).contiguous()) if centred else None
        return cls(known.flatten(1), s.flatten(1), known.square().flatten(1), turned)

    def nearest(self, x: Tensor, observed: Tensor, k: int) -> Tensor:
        """Return the places (B, k) of the k nearest to each of x (B, W, C), 0 where not observed, by what both have.

        By the mean squared difference where both have a value; by channel, after the mean difference is taken off.
        """
        found = []
        for block, mask in zip(x.split(64), observed.split(64), strict=True):
            o = mask.to(x.dtype)
            total = o.flatten(1) @ self.size.T - 2 * block.flatten(1) @ self.known.T
            total += block.square().flatten(1) @ self.seen.T
            if self.by_channel is None:
                count = o.flatten(1) @ self.seen.T
            else:
                count = torch.zeros_like(total)  # sums of ones, so exact in any order
                for c, (known, seen) in enumerate(zip(*self.by_channel, strict=True)):
                    own = o[..., c] @ seen
                    count += own
                    off = block[..., c] @ seen
                    off -= o[..., c] @ known
                    total -= off.square_().div_(own.clamp_(min=1))
            mean = torch.where(count > 0, total / count.clamp(min=1), torch.inf)
            found.append(mean.topk(min(k, len(self.known)), largest=False).indices)
        return torch.cat(found)


class NearestLatent(Head):
    """The mean squared distance of a window's latent mean from its k nearest among those of normal windows.

    Each latent dimension counts in standard deviations over those windows. It cannot say which channel.
    """

    channelwise = False

    def __init__(self, k: int = 1) -> None:
        self.k = k
        self._latents, self._spread = torch.empty(0), torch.empty(0)

    def learn(self, model: Autoencoder, windows: WindowSet, index: Tensor) -> None:
        found = torch.cat([output.latent.mean for _, output in outputs(model, windows, index)])
        spread = found.std(0, correction=0)
        self._spread = torch.where(spread > 0, spread, torch.ones_like(spread))
        self._latents = found / self._spread

    def parts(self, model: Autoencoder, batch: Batch, output: Output) -> Tensor:
        z = output.latent.mean / self._spread
        near = self._latents[nearest(self._latents, z, self.k)]
        return ((near - z[:, None]) ** 2).mean((1, 2))[:, None, None]

    def state(self) -> dict[str, Tensor]:
        return {"latents": self._latents, "spread": self._spread}

    def restore(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        self._latents, self._spread = state["latents"].to(device), state["spread"].to(device)


class WindowPCA(Head):
    """The mean squared error of the best linear autoencoder of whole windows, by channel: what a network has to beat.

    Windows (W · C numbers) are projected onto the principal components that hold `share` of the variance of at most
    `most` normal windows, and back. In those a missing value counts as the channel's mean; a window with holes is
    projected by its observed values, by least squares with a little shrinkage (RIDGE), and its error is theirs.
    """

    explains = True

    def __init__(self, share: float = 0.99, most: int = 2048) -> None:
        self.share, self.most = share, most
        self._mean, self._basis = torch.empty(0), torch.empty(0)

    def learn(self, model: Autoencoder, windows: WindowSet, index: Tensor) -> None:
        some = torch.randperm(len(index), generator=torch.Generator().manual_seed(0))[: self.most].to(index.device)
        x = torch.cat([batch.x.flatten(1) for batch in blocks(windows, index[some])])
        self._mean = x.mean(0)
        _, scale, basis = torch.linalg.svd(x - self._mean, full_matrices=False)
        held = scale.square().cumsum(0) / scale.square().sum().clamp(min=1e-30)
        self._basis = basis[: int((held < self.share).sum()) + 1].clone(memory_format=torch.contiguous_format)

    def parts(self, model: Autoencoder, batch: Batch, output: Output) -> Tensor:
        off = torch.where(batch.observed.flatten(1), batch.x.flatten(1) - self._mean, 0.0)
        place = off @ self._basis.T
        observed = batch.observed.flatten(1)
        for one in (~observed.all(1)).nonzero()[:, 0]:
            place[one] = _projected(place[one], self._basis, observed[one])
        left = off - place @ self._basis
        return mean_observed(left.view_as(batch.x) ** 2, batch.observed)

    def state(self) -> dict[str, Tensor]:
        return {"mean": self._mean, "basis": self._basis}

    def restore(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        self._mean, self._basis = state["mean"].to(device), state["basis"].to(device)


def _projected(place: Tensor, basis: Tensor, observed: Tensor) -> Tensor:
    """Return (G + RIDGE · 1)⁻¹ place, (K,), where G is the Gram matrix of the basis (K, D) at what is observed (D,).

    The basis is orthonormal, so that G = 1 − V Vᵀ with the basis V (K, m) at what is missing: by the identity of
    Sherman, Morrison & Woodbury (1950) a system of m unknowns is solved, where fewer are missing than K.
    """
    if int((~observed).sum()) >= len(basis):
        seen = basis[:, observed]
        return torch.linalg.solve(seen @ seen.T + RIDGE * torch.eye(len(basis), device=place.device), place)
    v, ridge = basis[:, ~observed], 1 + RIDGE
    inner = ridge * torch.eye(v.shape[1], device=place.device) - v.T @ v
    return (place + v @ torch.linalg.solve(inner, v.T @ place)) / ridge
