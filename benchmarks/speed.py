"""How fast: decoders, layers and training steps beside a loop over the steps and beside the library's own calls; how
cost grows; training and scoring beside other packages.

python benchmarks/speed.py; python benchmarks/speed.py --only peers
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import growth
import rivals
import torch
from growth import training_step
from rivals import SAME, SAME_GRADIENT, Work, agree, looped, opened, without_kernels
from torch import Tensor

from seqae.nn.decoders import DECODERS, RecurrentDecoder
from seqae.nn.recurrence import CELLS, Feedback, run

RESULTS = Path(__file__).parent / "results"
LATENT, CHANNELS, WIDTH = 16, 8, 8
"""Of the decoders; inputs of the layers."""
SIDE = 1536
PRODUCT = 2 * SIDE**3
"""Rows of the matrices whose product shows what the machine can do, and its operations."""
SIZES = ((64, 100, 64), (256, 100, 64), (64, 100, 128), (32, 512, 64), (32, 64, 32))
"""B, T, H of the layers."""
GATES = {"gru": 3, "lstm": 4}


@dataclass(frozen=True)
class Clock:
    """Times pieces of work in turn, A, B, C, A, B, C, ..., after each was done once."""

    seconds: float
    rounds: int
    device: torch.device

    def __call__(self, *works: Work) -> list[float]:
        """Return each one's median milliseconds, of at least `rounds` rounds and `seconds`."""
        taken: list[list[float]] = [[] for _ in works]
        for work in works:
            work()
        began = time.perf_counter()
        while len(taken[0]) < self.rounds or time.perf_counter() - began < self.seconds:
            for work, times in zip(works, taken, strict=True):
                self.wait()
                start = time.perf_counter()
                work()
                self.wait()
                times.append((time.perf_counter() - start) * 1e3)
        return [statistics.median(times) for times in taken]

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True)
class Setting:
    """What all parts are run with."""

    clock: Clock
    threads: Sequence[int]
    quick: bool

    @property
    def device(self) -> torch.device:
        return self.clock.device


def gemm(device: torch.device) -> Work:
    """Return a large product of float32 matrices, PRODUCT operations."""
    a, b = (torch.randn(SIDE, SIDE, device=device) for _ in range(2))
    return lambda: a @ b


def bandwidth(clock: Clock) -> float:
    """Return the GB/s, read and written, of a copy of 256 MB."""
    source = torch.ones(1 << 26, device=clock.device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / clock(lambda: target.copy_(source))[0] / 1e6


def products(cell: str, batch: int, steps: int, hidden: int, *, latent: bool, output: bool) -> int:
    """Return the floating-point operations of the products that a decoder cannot do without, forward.

    The formula is in what `decoders` writes. The two gradients of a product are two products of its size.
    """
    recurrent = hidden * (4 if output else GATES[cell])
    once = LATENT * hidden * (CELLS[cell].states + GATES[cell] * latent)
    return 2 * batch * (steps * hidden * (recurrent + CHANNELS) + once)


def bar(what: str, ratios: dict[str, float], *, least: float | None = None, most: float | None = None) -> str:
    """Return a line that says whether all ratios keep a bar, and the worst one; ratios: where it is -> it."""
    where = min(ratios, key=lambda name: ratios[name] if most is None else -ratios[name])
    worst = ratios[where]
    kept = worst >= least if least is not None else most is not None and worst <= most
    every = sum(ratio >= least if least is not None else ratio <= (most or 0) for ratio in ratios.values())
    told = "met" if kept else f"not met ({every} of {len(ratios)} keep it)"
    return f"- {what}: bar {told}; the worst is {worst:.2f} ({where})."


# --- the parts --------------------------------------------------------------------------------------------------------


def passes(ways: Sequence[Callable[[], Tensor]], leaves: Sequence[Sequence[Tensor]]) -> tuple[list[Work], list[Work]]:
    """Return each way without gradients, and with those of its leaves; all have one gradient above."""
    with torch.no_grad():
        shape = ways[0]().shape
    above = torch.randn(shape, device=leaves[0][0].device)

    def trains(way: Callable[[], Tensor], own: Sequence[Tensor]) -> Work:
        return lambda: torch.autograd.grad(way(), own, above)

    return [torch.no_grad()(way) for way in ways], [trains(*each) for each in zip(ways, leaves, strict=True)]


def decoder_ways(
    cell: str, mode: str, batch: int, steps: int, hidden: int, device: torch.device, layers: int = 1
) -> tuple[list[Work], list[Work]]:
    """Return a decoder forward and trained, each ours, looped and, of one layer, opened; raises where they differ."""
    torch.manual_seed(0)
    decoder = RecurrentDecoder(
        latent=LATENT, condition=0, hidden=hidden, channels=CHANNELS, cell=cell, decoder_type=mode, layers=layers
    ).to(device)
    z = torch.randn(batch, LATENT, device=device, requires_grad=True)
    same = not decoder.wiring.output
    rnn = decoder.rnn if same else CELLS[cell].library(LATENT, hidden).to(device)
    ways = [lambda: decoder(z, steps)[0], lambda: looped(decoder, z, steps), lambda: opened(decoder, rnn, z, steps)]
    weights = [z, *decoder.start.parameters(), *decoder.location.parameters()]
    leaves = [[*weights, *part.parameters()] for part in (decoder.rnn, decoder.rnn, rnn)]
    count = 3 if layers == 1 else 2
    scores, trains = passes(ways[:count], leaves[:count])
    for other in range(1, 3 if same and layers == 1 else 2):
        name = f"{cell} {mode} {batch} × {steps} × {hidden}"
        agree(name, [scores[0]()], [scores[other]()], SAME)
        agree(f"{name}, gradients", trains[0](), trains[other](), SAME_GRADIENT)
    return scores, trains


def decoders(setting: Setting) -> Iterator[str]:
    yield f"From z ({LATENT}) to {CHANNELS} channels: milliseconds and, in brackets, times the floor; how many times as"
    yield "long the loop takes; ours / library, which is fed z at every step and nothing else, start and head as ours."
    yield f"On {spoken(max(setting.threads))}. The floor: the products alone, at the rate of a large one that is timed"
    yield "in turn: 2 · B · (T · H · (R + C) + Z · (S · H + G)) operations, for training three times that. R = 4H rows"
    yield "of recurrent weights (GRU without feedback: 3H) and C of the head at every step; once, what z gives S"
    yield "initial states and, as an input, G = 4H gates (GRU: 3H).\n"
    torch.set_num_threads(max(setting.threads))
    large = gemm(setting.device)
    yield "| cell | decoder | B × T × H | forward | loop | ours / library | trained | loop | ours / library |"
    yield "|---|---|---|---|---|---|---|---|---|"
    grid = itertools.product((32, 256), (64, 512), (32, 128))
    beside: dict[str, dict[str, float]] = {name: {} for name in CELLS}
    loops: dict[str, float] = {}
    sizes = ((32, 64, 32), (32, 64, 128)) if setting.quick else tuple(grid)
    for size, cell, mode in itertools.product(sizes, CELLS, DECODERS):
        wiring = DECODERS[mode]
        share = products(cell, *size, latent=wiring.latent, output=wiring.output) / PRODUCT
        cells = [cell, mode, " × ".join(map(str, size))]
        for kind, works in zip(("forward", "trained"), decoder_ways(cell, mode, *size, setting.device), strict=True):
            ours, loop, library, product = setting.clock(*works, large)
            least = share * product * (3 if kind == "trained" else 1)
            cells += [f"{ours:.3g} ({ours / least:.1f})", f"{loop / ours:.1f}", f"{ours / library:.2f}"]
            where = f"{mode}, {cells[2]}, {kind}"
            beside[cell][where], loops[f"{cell}, {where}"] = ours / library, loop / ours
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield bar("LSTM at most 1.15 × as long as the library's open loop", beside["lstm"], most=1.15)
    yield bar("GRU never slower than the library's open loop", beside["gru"], most=1.0)
    yield bar("never slower than the loop", loops, least=1.0)
    yield "\nSeveral layers, fed by the top one: concat_output_latent, 64 × 100 × 64.\n"
    yield "| cell | layers | forward | loop | trained | loop |\n|---|---|---|---|---|---|"
    for cell, layers in itertools.product(CELLS, (2, 3)):
        cells = [cell, str(layers)]
        for works in decoder_ways(cell, "concat_output_latent", 64, 100, 64, setting.device, layers):
            ours, loop = setting.clock(*works)
            cells += [f"{ours:.3g}", f"{loop / ours:.1f}"]
        yield f"| {' | '.join(cells)} |"


def layer_ways(name: str, batch: int, steps: int, hidden: int, device: torch.device) -> tuple[list[Work], list[Work]]:
    """Return a layer forward and trained, each ours, ours with its output fed back, and the library's."""
    torch.manual_seed(0)
    cell = CELLS[name]
    rnn, fed = (cell.library(width, hidden).to(device) for width in (WIDTH, WIDTH + hidden))
    x = torch.randn(steps, batch, WIDTH, device=device)
    state = tuple(torch.zeros(1, batch, hidden, device=device) for _ in range(cell.states))
    ways = [
        lambda: run(cell, rnn, x, state, None), lambda: run(cell, fed, x, state, Feedback()), lambda: rnn(x)[0],
    ]  # fmt: skip
    leaves = [list(part.parameters()) for part in (rnn, fed, rnn)]
    scores, trains = passes(ways, leaves)
    agree(f"{name} {batch} × {steps} × {hidden}", [scores[0]()], [scores[2]()], SAME)
    agree(f"{name}, gradients", trains[0](), trains[2](), SAME_GRADIENT)
    return scores, trains


def layers(setting: Setting) -> Iterator[str]:
    yield f"Layers of {WIDTH} inputs: milliseconds, and times as fast as nn.GRU or nn.LSTM with its inputs known. Open:"
    yield "inputs known; closed: fed what came out before, which the library's is not.\n"
    yield "| threads | cell | B × T × H | pass | open | library / open | closed | library / closed |"
    yield "|---|---|---|---|---|---|---|---|"
    sizes = (SIZES[0], SIZES[3]) if setting.quick else SIZES
    found: dict[tuple[str, tuple[int, ...], str], dict[str, float]] = {}
    for threads, name, size in itertools.product(setting.threads, CELLS, sizes):
        torch.set_num_threads(threads)
        told = " × ".join(map(str, size))
        for kind, works in zip(("forward", "trained"), layer_ways(name, *size, setting.device), strict=True):
            free, closed, library = setting.clock(*works)
            yield (
                f"| {threads} | {name} | {told} | {kind} | {free:.3g} | {library / free:.2f} | {closed:.3g} | "
                f"{library / closed:.2f} |"
            )
            where = f"{spoken(threads)}, {told}, {kind}"
            ratios = found.setdefault((name, size, kind), {})
            ratios[f"{where}, open"], ratios[f"{where}, closed"] = library / free, library / closed
    yield ""
    for size, least in ((SIZES[0], 3.0), (SIZES[3], 4.0)):
        what = f"GRU trained at least {least:g} × as fast as nn.GRU at {size}"
        yield bar(what, found["gru", size, "trained"], least=least)
    every: dict[str, dict[str, float]] = {name: {} for name in CELLS}
    for (name, _, _), ratios in found.items():
        every[name] |= ratios
    yield bar("GRU never slower than nn.GRU", every["gru"], least=1.0)
    yield bar("LSTM, open, never slower than nn.LSTM", _open(every["lstm"]), least=1.0)
    yield bar("LSTM, open, at least 1.5 × as fast as nn.LSTM", _open(every["lstm"]), least=1.5)


def spoken(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def _open(ratios: dict[str, float]) -> dict[str, float]:
    return {where: ratio for where, ratio in ratios.items() if where.endswith("open")}


def steps(setting: Setting) -> Iterator[str]:
    yield "A step of training (forward, loss, backward, clip, Adam) of seqae.VAE(latent=8, hidden=64), 32 windows of 64"
    yield "steps: milliseconds, beside the same model written the usual way (the library's encoder, a loop of its cells"
    yield "in the decoder) and beside ours on the library's calls, without the compiled kernels.\n"
    yield "| threads | cell | decoder | channels | ours | usual / ours | without kernels / ours |"
    yield "|---|---|---|---|---|---|---|"
    modes = ("repeat_latent",) if setting.quick else ("repeat_latent", "concat_output_latent")
    found: dict[str, float] = {}
    for threads, mode, cell, channels in itertools.product(setting.threads, modes, CELLS, (1, 25)):
        torch.set_num_threads(threads)
        ours, usual = training_step(setting.device, cell=cell, mode=mode, channels=channels)
        agree(f"the losses of {cell}, {mode}", [ours()], [usual()], SAME)
        fast, loop, library = setting.clock(ours, usual, without_kernels(ours))
        yield f"| {threads} | {cell} | {mode} | {channels} | {fast:.3g} | {loop / fast:.2f} | {library / fast:.2f} |"
        found[f"{spoken(threads)}, {cell}, {mode}, channels: {channels}"] = loop / fast
    yield ""
    yield bar("a step at least 2.5 × as fast as the usual way", found, least=2.5)


def growing(setting: Setting) -> Iterator[str]:
    torch.set_num_threads(max(setting.threads))
    yield from growth.tables(setting.clock, setting.device, setting.quick)


def peers(setting: Setting) -> Iterator[str]:
    yield from rivals.table(setting.threads, setting.quick)


PARTS: dict[str, tuple[str, Callable[[Setting], Iterator[str]]]] = {
    "decoders": ("Decoders", decoders),
    "layers": ("Layers", layers),
    "step": ("A training step", steps),
    "growth": ("How cost grows", growing),
    "peers": ("Training and scoring beside other packages", peers),
}


def processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")


def head(setting: Setting) -> Iterator[str]:
    yield "# How fast\n"
    rates = []
    for threads in setting.threads:
        torch.set_num_threads(threads)
        rate, copied = PRODUCT / setting.clock(gemm(setting.device))[0] / 1e6, bandwidth(setting.clock)
        rates.append(f"{rate:.0f} GFLOP/s and {copied:.1f} GB/s on {spoken(threads)}")
    command = " ".join(["python", "benchmarks/speed.py", *sys.argv[1:]])
    yield (
        f"`{command}`, {time.strftime('%Y-%m-%d')}, {processor(setting.device)}, {os.cpu_count()} cores, PyTorch "
        f"{torch.__version__}, load {os.getloadavg()[0]:.1f} at the start. Large products of float32 matrices, and "
        f"copies of 256 MB: {', '.join(rates)}.\n"
    )
    clock = setting.clock
    yield f"Times: medians of runs in turn in one process, at least {clock.rounds} rounds and {clock.seconds:g} s. Ways"
    yield f"that should give the same do, to {SAME:g} (gradients: {SAME_GRADIENT:g}) of their largest value.\n"


def tell(*parts: Iterable[str]) -> Iterator[str]:
    """Hand on lines, and print each as it comes."""
    for line in itertools.chain(*parts):
        print(line, flush=True)
        yield line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts; otherwise all but peers")
    parser.add_argument("--seconds", type=float, default=0.5, help="time for each comparison, at least")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison, at least")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--device", default="cpu", help="cpu or cuda; on a GPU float32 stays float32, without TF32")
    parser.add_argument("--quick", action="store_true", help="a few sizes, a minute; no file without --output")
    parser.add_argument("--output", type=Path, help="default: results/speed-cpu.md, or the card's name and the parts'")
    given = parser.parse_args()
    device = torch.device(given.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    clock = Clock(0.1 if given.quick else given.seconds, 3 if given.quick else given.rounds, device)
    setting = Setting(clock, given.threads if device.type == "cpu" else [1], given.quick)
    lines = list(tell(head(setting)))
    for title, part in map(PARTS.__getitem__, given.only or list(PARTS)[:-1]):
        lines += tell([f"## {title}\n"], part(setting), [""])
    name = "cpu" if device.type == "cpu" else processor(device).lower().replace(" ", "-")
    output = given.output or RESULTS / f"{'-'.join(['speed', name, *(given.only or [])])}.md"
    if given.output or not given.quick:
        output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
