"""Result files, and the table and the figure that are made of them."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results"
HEAD = {
    "command": str, "commit": str, "date": str, "device": str, "memory_gb": float, "python": str,
    "versions": dict, "mode": str, "cores_used_by_others": float, "idle": bool, "rows": list,
}  # fmt: skip
"""What each result file holds, with its type; those of a GPU name it, too."""
ROW = {"comparison": str, "call": str, "ours": bool, "size": int, "unit": str, "timed": str}
"""What each row holds. One that was not run has the reason, ``not_run``; the others `MEASURED`."""
MEASURED = {
    "seconds": list, "best": float, "spread": float, "times_as_long_as_ours": float,
    "peak_memory_mb": int, "memory_before_mb": int,
}  # fmt: skip
"""The seconds of each round, the least and the largest over the least, and peak memory."""
SCORES = ["ari_with_truth", "ari_between_states", "rarest_f1"]
"""What a row of a clustering may hold, too: means, where there are several fits."""
SHOWN = {
    "best": ("seconds", ".3g"), "times_as_long_as_ours": ("over ours", ".3g"),
    "peak_memory_mb": ("MB", ".0f"), "time_growth": ("growth", ".2f"),
    "bytes_per_unit": ("bytes", ",.0f"), "spread": ("spread", ".1f"),
} | {score: (score.replace("_", " "), ".2f") for score in SCORES}  # fmt: skip
"""The columns of a summary: their titles and the format of their numbers."""


def path_of(name: str, *, full: bool) -> Path:
    """Return the result file of a script, that of ``make bench-full`` or of ``make bench``."""
    return RESULTS / f"{name}{'_full' if full else ''}.json"


def write(name: str, result: dict[str, Any]) -> Path:
    """Replace a result file."""
    RESULTS.mkdir(exist_ok=True)
    path = path_of(name, full=result["mode"] == "full")
    unfinished = path.with_suffix(".partial")
    unfinished.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    unfinished.replace(path)
    return path


def read(name: str) -> dict[str, Any]:
    """Return the result of ``make bench-full``, or that of ``make bench`` where there is none."""
    full, short = (path_of(name, full=full) for full in (True, False))
    return json.loads((full if full.exists() else short).read_text())


def measured() -> list[str]:
    """Return the names of the scripts that have results."""
    return sorted({path.stem.removesuffix("_full") for path in RESULTS.glob("*.json")})


def runs() -> pd.DataFrame:
    """Return when, where and how each script was measured, a row for each."""
    heads = {name: read(name) for name in measured()}
    columns = [c for c in HEAD if c not in ("rows", "versions")]
    return pd.DataFrame({name: [head[c] for c in columns] for name, head in heads.items()},
                        index=columns).T.rename_axis("script")  # fmt: skip


def table() -> pd.DataFrame:
    """Return all rows, with the growth of each call from its smallest to its largest size.

    ``time_growth`` is the exponent b of time ~ size**b, and ``bytes_per_unit`` what each further
    unit of the size adds to the peak memory.
    """
    rows = pd.DataFrame(
        [{"script": name} | row for name in measured() for row in read(name)["rows"]]
    )
    columns = ["script", *ROW, *MEASURED, *SCORES, "not_run"]
    rows = rows.reindex(columns=columns).drop(columns="seconds")
    growth = [_growth(one) for _, one in rows.groupby(["script", "comparison", "call"], sort=False)]
    return rows.join(pd.concat(growth)) if growth else rows


def _growth(rows: pd.DataFrame) -> pd.DataFrame:
    done = rows.dropna(subset=["best"]).sort_values("size")
    found = pd.DataFrame(index=rows.index, columns=["time_growth", "bytes_per_unit"], dtype=float)
    if len(done) > 1:
        first, last = done.iloc[0], done.iloc[-1]
        found["time_growth"] = round(
            np.log(last["best"] / first["best"]) / np.log(last["size"] / first["size"]), 2
        )
        more = (last["peak_memory_mb"] - first["peak_memory_mb"]) * 1e6
        found["bytes_per_unit"] = round(more / (last["size"] - first["size"]), 1)
    return found


def what(name: str) -> str:
    """Return what a script compares, the first line of its docstring."""
    text = ast.get_docstring(ast.parse((RESULTS.parent / f"{name}.py").read_text()))
    return text.splitlines()[0]


def summary(name: str) -> pd.DataFrame:
    """Return a row for each size of each call of a script; growth stands in the last one."""
    rows = table().query("script == @name")
    calls = ["comparison", "call"]
    rows = pd.concat([one.sort_values("size") for _, one in rows.groupby(calls, sort=False)])
    of_calls = ["time_growth", "bytes_per_unit"]
    rows[of_calls] = rows[of_calls].where(~rows.duplicated(calls, keep="last"))
    titles = rows["comparison"] + ": " + rows["unit"] + ", seconds of " + rows["timed"]
    sizes = rows["size"].map("{:,}".format)
    summary = pd.DataFrame({title: [_shown(value, form) for value in rows[column]]
                            for column, (title, form) in SHOWN.items()},
                           pd.MultiIndex.from_arrays([titles, rows["call"], sizes]))  # fmt: skip
    summary = summary.loc[:, (summary != "").any()]
    return summary.rename_axis([*calls, "size"]).rename_axis(columns="measure")


def _shown(value: float, form: str) -> str:
    return "" if pd.isna(value) else format(value, form)


def ratios() -> pd.DataFrame:
    """Return the times of peers over ours, a row for each peer and a column for each size."""
    rows = table().query("not ours").dropna(subset=["best"])
    keys = ["script", "comparison", "call"]
    rows["place"] = rows.groupby(keys)["size"].rank().astype(int)
    rows = rows.set_index([*keys, "place"])["times_as_long_as_ours"]
    return rows.unstack("place").reindex(rows.droplevel("place").index.unique())


def figure() -> Any:
    """Draw the times of all peers over ours; marks grow with the size."""
    import matplotlib.pyplot as plt

    times = ratios()
    height = 0.22 * len(times) + 0.3 * times.index.droplevel("call").nunique() + 0.8
    fig, ax = plt.subplots(figsize=(7, height), layout="constrained")
    y, ticks, before = 0.0, [], None
    for (script, comparison, call), row in times.iterrows():
        if (script, comparison) != before:
            y += 0.6
            title = ax.annotate(
                f"{script}: {comparison}", (0.01, y), xycoords=("figure fraction", "data"),
                weight="bold", va="center", annotation_clip=False,
            )  # fmt: skip
            title.set_in_layout(False)  # it may reach into the axes, where its row has no mark
            y, before = y + 1, (script, comparison)
        found = row.dropna()
        ax.plot(found, [y] * len(found), color="0.7", zorder=1)
        slower = found.to_numpy() < 1
        ax.scatter(found, [y] * len(found), s=15 * found.index.to_numpy(),
                   c=np.where(slower, "tab:red", "tab:blue"))  # fmt: skip
        ticks.append((y, call))
        y += 1
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set(xscale="log", ylim=(y, 0), xlabel="time of the peer / our time")
    ax.set_yticks(*zip(*ticks, strict=True))
    ax.grid(axis="x", alpha=0.4)
    return fig


def write_report() -> None:
    """Write ``table.csv`` and ``figure.png`` beside the results."""
    from matplotlib import pyplot as plt

    table().to_csv(RESULTS / "table.csv", index=False)
    fig = figure()
    fig.savefig(RESULTS / "figure.png", dpi=150)
    plt.close(fig)
