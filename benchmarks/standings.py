"""The tables of detection.py, made of the lines in its cache: by collection, over all, failures, and by series."""

from __future__ import annotations

import itertools
import os
import platform
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from labelled import COLLECTIONS

GROUPS = {"UCR": ("ucr",), "NAB": ("nab",), "SMD/ASD": ("smd", "asd"), "SMAP/MSL": ("smap_msl",)}
MEASURES = ("vus_pr", "vus_roc", "ap", "auroc", "ucr_hit", "false_alarms", "event_recall")
KEY = ["case", "method", "seed"]
NOTES = """\
Every method is fitted to the train part alone and measured on the test part alone. ucr, smd, asd, smap_msl and gecco:
the train part that the source names; nab: the first quarter of the rows, or those before the first labelled window,
whichever are fewer. Ours holds back its own calibration part; the others are fitted to the first four fifths of the
train part, and the last fifth gives the threshold that at most 1 % of its scores exceed (split conformal; of fewer than
99 rows nothing can be promised, and nothing is flagged). One window for all others of a series:
`seqae.periods.choose_window` of its train part. The peers have their packages' defaults, but for what peers.py states.
The matrix profile of several channels is joined with the last 5,000 training rows. Missing values (gecco): ours is
given them as missing; the others get the channel's last known value. A row that a method leaves without a score counts
as the least strange one.

VUS-PR and VUS-ROC: TSB-AD's variant, margins up to the period of the first channel. ±: standard deviation of the
collection's mean over seeds; none where chance has no part. AP: average precision. UCR hit: the highest score lies at
the anomaly. False alarms: flagged rows in 1,000 normal ones. Event recall: share of anomalies with a flagged row.
Seconds: processor time of fit and scores, one series, one thread. Means are over the runs that succeeded; failed runs
are counted beside them and listed below. Where methods are compared with each other (the first two tables and those by
series) a failed run has the mean score of the random one on that series."""


def frame(lines: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return one row for each case, method and seed, the latest line of each, with the collection."""
    table = pd.DataFrame(list(lines), columns=[*KEY, "kind", "failure", "seconds", "window", "vus_window", *MEASURES])
    table = table.drop_duplicates(KEY, keep="last").reset_index(drop=True)
    table["collection"] = table["case"].str.split("/").str[0]
    for name in (*MEASURES, "seconds"):
        table[name] = pd.to_numeric(table[name])
    return table


def compared(table: pd.DataFrame, measure: str = "vus_pr") -> pd.Series:
    """Return a measure of every run, that of a failed one being the random score's mean on the same series."""
    chance = table[table["method"] == "random"].groupby("case")[measure].mean()
    failed = table["failure"].notna()
    return table[measure].where(~failed, table["case"].map(chance).fillna(0.0))


def by_collection(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of `compared` by method (rows) and collection (columns), and `mean` over collections."""
    values = table.assign(value=compared(table))
    wide = values.groupby(["method", "collection"])["value"].mean().unstack()
    wide = wide[[name for name in COLLECTIONS if name in wide]]
    return wide.assign(mean=wide.mean(axis=1, skipna=False)).sort_values("mean", ascending=False, na_position="last")


def by_group(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of `compared` over a group's series by method, and `all`: the mean over collections."""
    values = table.assign(value=compared(table))
    groups = {
        name: values[values["collection"].isin(members)].groupby("method")["value"].mean()
        for name, members in GROUPS.items()
        if values["collection"].isin(members).any()
    }
    return pd.DataFrame(groups).assign(all=by_collection(table)["mean"])


def rows(table: pd.DataFrame, missing: dict[str, int]) -> pd.DataFrame:
    """Return what one collection's table shows, a method a row: means over successes, `±`, `failed`, `not run`."""
    good = table[table["failure"].isna()]
    found = good.groupby("method")[[*MEASURES, "seconds"]].mean()
    seeds = table.assign(value=compared(table)).groupby(["method", "seed"])["value"].mean()
    found["±"] = seeds.groupby("method").std(ddof=1)
    found["failed"] = table[table["failure"].notna()].groupby("method").size()
    found = found.reindex(table["method"].unique())
    found["failed"] = (
        found["failed"].fillna(table[table["failure"].notna()].groupby("method").size()).fillna(0).astype(int)
    )
    found["not run"] = [missing.get(method, 0) for method in found.index]
    found["runs"] = table.groupby("method").size()
    return found.sort_values("vus_pr", ascending=False, na_position="last")


def shown(value: float, digits: int = 3) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def markdown(head: list[str], body: Iterable[Iterable[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*lines, *("| " + " | ".join(cells) + " |" for cells in body)]


def collection_table(table: pd.DataFrame, missing: dict[str, int]) -> list[str]:
    """Return one collection's table in Markdown."""
    hit = table["ucr_hit"].notna().any()
    head = ["method", "VUS-PR", "±", "VUS-ROC", "AP", "AUROC", *(["UCR hit"] if hit else [])]
    body = []
    for method, row in rows(table, missing).iterrows():
        cells = [
            _named(str(method), table),
            shown(row["vus_pr"]),
            shown(row["±"]),
            *(shown(row[m]) for m in MEASURES[1:4]),
        ]
        cells += [shown(row["ucr_hit"], 2)] if hit else []
        cells += [shown(row["false_alarms"], 1), shown(row["event_recall"], 2), shown(row["seconds"], 1)]
        body.append([*cells, *(str(int(row[name])) for name in ("runs", "failed", "not run"))])
    return markdown([*head, "false alarms", "event recall", "seconds", "runs", "failed", "not run"], body)


def _named(method: str, table: pd.DataFrame) -> str:
    ours = (table.loc[table["method"] == method, "kind"] == "ours").any()
    return f"**{method}**" if ours else method


def best(group: pd.Series, kinds: pd.Series, kind: str) -> tuple[str, float]:
    """Return the method of a kind with the highest mean of a group, and that mean; ("", nan) where none was run."""
    own = group[kinds.reindex(group.index) == kind].drop("random", errors="ignore").dropna()
    return (str(own.idxmax()), float(own.max())) if len(own) else ("", float("nan"))


def verdicts(table: pd.DataFrame) -> list[str]:
    """Return, group by group, ours beside what it has to beat, and whether it does; of `all`, at or above suffices."""
    groups, kinds = by_group(table), table.groupby("method")["kind"].first()
    body = []
    for method in kinds.index[kinds == "ours"]:
        for name in groups:
            group = groups[name]
            mine = group.get(method, float("nan"))
            plain = [(other, group.get(other, float("nan"))) for other in ("random", "energy", "window-PCA")]
            peer, classical = best(group, kinds, "peer"), best(group, kinds, "classical")
            below = [other for other, value in [*plain, peer] if other and not mine > value]
            below += [classical[0]] if name == "all" and classical[0] and not mine >= classical[1] else []
            cells = [shown(mine), *(shown(value) for _, value in plain)]
            cells += [f"{shown(value)} {other}".strip() for other, value in (peer, classical)]
            answer = "not run" if np.isnan(mine) else "below " + ", ".join(dict.fromkeys(below)) if below else "yes"
            body.append([f"**{method}**", name, *cells, answer])
    head = [
        "ours",
        "series of",
        "VUS-PR",
        "random",
        "energy",
        "window-PCA",
        "best peer",
        "best classical",
        "beats them",
    ]
    return markdown(head, body)


def ahead(table: pd.DataFrame) -> list[str]:
    """Return, for each group in whose mean others are above ours, every series' `compared` of ours and of those."""
    groups, kinds = by_group(table), table.groupby("method")["kind"].first()
    means = table.assign(value=compared(table)).groupby(["case", "method"])["value"].mean().unstack()
    text = []
    for mine, (name, members) in itertools.product(kinds.index[kinds == "ours"], GROUPS.items()):
        if name not in groups or mine not in groups.index:
            continue
        group = groups[name].drop(kinds.index[kinds == "ours"].drop(mine)).sort_values(ascending=False)
        above = group.index[group > group[mine]]
        cases = [case for case in means.index if case.split("/")[0] in members]
        if len(above):
            body = ([case, *map(shown, means.loc[case, [mine, *above]])] for case in cases)
            text += ["", f"{name}:", "", *markdown(["series", f"**{mine}**", *above], body)]
    return text or ["", "In no group."]


def thresholds(lines: Iterable[dict[str, Any]]) -> list[str]:
    """Return ours at other thresholds than the default one: false alarms and event recall, by collection."""
    ours = [line for line in lines if line["kind"] == "ours" and not line["failure"]]
    table = pd.DataFrame(ours).drop_duplicates(KEY, keep="last") if ours else pd.DataFrame(columns=[*KEY, *MEASURES])
    ends = [name.removeprefix("false_alarms") for name in table if str(name).startswith("false_alarms")]
    if len(ends) < 2:
        return ["Not run."]
    collection = table["case"].str.split("/").str[0]
    names = [name for name in COLLECTIONS if (collection == name).any()]
    body = []
    for method, own in table.groupby("method"):
        for end in ends:
            means = own.groupby(collection)[[f"false_alarms{end}", f"event_recall{end}"]].mean()
            cells = [f"{shown(means.loc[n].iloc[0], 1)}, {shown(means.loc[n].iloc[1], 2)}" for n in names]
            body.append([f"**{method}**", end.removeprefix("_") or "conformal", *cells])
    return markdown(["ours", "threshold", *names], body)


def failures(table: pd.DataFrame) -> list[str]:
    """Return the failed runs in Markdown, those of one series, method and reason in one row."""
    failed = table[table["failure"].notna()]
    groups = failed.groupby(["method", "case", "failure"])["seed"].apply(lambda s: ", ".join(map(str, sorted(s))))
    body = ([m, c, seeds, str(reason).replace("|", "/")] for (m, c, reason), seeds in groups.items())
    return markdown(["method", "series", "seeds", "reason"], body) if len(failed) else ["None."]


def by_series(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row a series: VUS-PR of each of ours (mean and ± over seeds), of the best peer and classical one."""
    values = table.assign(value=compared(table))
    means = values.groupby(["case", "method"])["value"].mean().unstack()
    spread = values.groupby(["case", "method"])["value"].std(ddof=1).unstack()
    kinds = table.groupby("method")["kind"].first()
    out = pd.DataFrame(index=means.index)
    for method in kinds.index[kinds == "ours"]:
        out[method], out[f"{method} ±"] = means[method], spread[method]
    for kind in ("peer", "classical"):
        pairs = [best(means.loc[case], kinds, kind) for case in means.index]
        out[f"best {kind}"], out[f"best {kind} VUS-PR"] = [p[0] for p in pairs], [p[1] for p in pairs]
    for method in ("random", "energy", "window-PCA"):
        if method in means:
            out[method] = means[method]
    for name in ("window", "vus_window"):
        others = table[table["kind"] != "ours"]
        out[name] = others.groupby("case")[name].first().astype("Int64").reindex(out.index)
    out["failed runs"] = table[table["failure"].notna()].groupby("case").size().reindex(out.index).fillna(0).astype(int)
    order = sorted(out.index, key=lambda case: (COLLECTIONS.index(case.split("/")[0]), case))
    return out.loc[order].rename_axis("series")


def write(
    output: Path,
    lines: list[dict[str, Any]],
    expected: set[tuple[str, str, int]],
    absent: list[str],
    *,
    command: str,
    versions: str,
) -> None:
    """Write the Markdown tables, and detection-series.csv beside them; expected: what a full run has."""
    table = frame(lines)
    there = set(map(tuple, table[KEY].to_numpy()))
    missing = [key for key in expected - there if (table["method"] == key[1]).any()]
    never = sorted({method for _, method, _ in expected} - set(table["method"]))
    named = [f"{name} (not installed)" if name in absent else name for name in never]
    others = sorted({line["made_with"] for line in lines if line["kind"] == "peer"})
    settings = {f"{line['method']}: {line['made_with']}" for line in lines if line["kind"] == "ours"}
    sources = {line["source"] for line in lines if line.get("kind") == "ours" and "source" in line}
    text = [
        "# Detection: labelled series, one default configuration",
        "",
        f"`{command}`, {date.today()}, {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {', '.join([versions, *others])}. "
        f"{len(table)} runs, {int(table['failure'].notna().sum())} failed, {len(missing)} not run."
        + (f" Ours by {len(sources)} states of the code: {', '.join(sorted(sources))}." if len(sources) > 1 else ""),
        "",
        NOTES,
        "",
        *(f"Given to seqae.Detector beside its own defaults, for every series: {text}." for text in sorted(settings)),
        "",
        f"Not run at all: {', '.join(named) or 'none'}.",
    ]
    if len(table):
        wide = by_collection(table)
        incomplete = {method for _, method, _ in missing}
        head = ["method", *wide.columns]
        body = (
            [_named(str(m), table) + (" †" if m in incomplete else ""), *(shown(v) for v in row)]
            for m, row in zip(wide.index, wide.to_numpy(), strict=True)
        )
        text += ["", "## Ours and what it has to beat", "", *verdicts(table)]
        text += ["", "## VUS-PR by collection", "", "†: not all series or seeds were run.", "", *markdown(head, body)]
        text += ["", "## Ours at other thresholds: false alarms in 1,000 normal rows, event recall", ""]
        text += thresholds(lines)
    for name in COLLECTIONS:
        own = table[table["collection"] == name]
        lacking = pd.Series([m for case, m, _ in missing if case.startswith(f"{name}/")], dtype=object).value_counts()
        if len(own):
            series = own["case"].nunique()
            text += ["", f"## {name}: {series} series", "", *collection_table(own, lacking.to_dict())]
    text += ["", "## Where others are ahead of ours in the mean: VUS-PR by series", *ahead(table)]
    text += ["", "## Failed runs", "", *failures(table)]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join(text) + "\n")
    by_series(table).to_csv(output.with_name("detection-series.csv"), float_format="%.4f")
