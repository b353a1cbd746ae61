"""Write the measured numbers into the page about servers, between its two comments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workshop.chapters import read

PAGE = Path(__file__).parent / "hub.md"
START, END = "% measured", "% end of what is measured"
LEARNERS = 40

NUMBERS = """\
Each chapter was executed once from top to bottom, and the memory of the kernel and of all processes
that it starts was read five times a second:

| Chapter | CPU time (s) | Peak memory (GB) |
| --- | --- | --- |
{rows}

Measured on {date} with Python {python} by `{command}` on {device}; the file is
`workshop/chapters.json`. The CPU time includes the start of Python and the compilation of
functions, which are stored for later runs. The JupyterLab server of a learner
holds another {server:.2f} GB.

Forty learners in the largest chapter at once hold {memory:.0f} GB. Forty who run the most expensive
chapter at the same moment ask for {minutes:.0f} minutes of CPU: on 32 cores that is {on_32:.1f}
minutes for everybody, on 16 cores {on_16:.1f}."""


def filled(page: str, result: dict[str, Any]) -> str:
    """Return the page with the numbers of a result of ``workshop.chapters``."""
    rows = [
        (int(row["chapter"][:2]), row["cpu_seconds"], row["peak_memory_mb"] / 1e3)
        for row in result["rows"]
    ]
    server = result["server_memory_mb"] / 1e3
    largest = max(memory for *_, memory in rows)
    minutes = LEARNERS * max(seconds for _, seconds, _ in rows) / 60
    numbers = NUMBERS.format(
        rows="\n".join(f"| {n} | {seconds:.0f} | {memory:.2f} |" for n, seconds, memory in rows),
        server=server,
        memory=LEARNERS * (largest + server),
        minutes=minutes,
        on_32=minutes / 32,
        on_16=minutes / 16,
        **{key: result[key] for key in ("date", "python", "command", "device")},
    )
    before, _, rest = page.partition(f"{START}\n")
    _, _, after = rest.partition(f"{END}\n")
    return f"{before}{START}\n\n{numbers}\n\n{END}\n{after}"


def main() -> None:
    """Fill the page."""
    if (result := read()) is None:
        raise SystemExit("Nothing is measured: run `python -m workshop.chapters` before.")
    PAGE.write_text(filled(PAGE.read_text(), result))


if __name__ == "__main__":
    main()
