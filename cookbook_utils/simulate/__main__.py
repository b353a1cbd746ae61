"""Write simulated data sets to disk: ``python -m cookbook_utils.simulate``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from cookbook_utils._command import parser_of_names, require_names, run_each
from cookbook_utils.simulate import SCENES, SERIES, SITES, write_coast, write_scene, write_site
from cookbook_utils.simulate._deliveries import FOLDER, write_deliveries

SMALL = ("landsat_5_small", "landsat_8_small", FOLDER, "coast_series_small", *SITES)
FULL = ("landsat_5", "landsat_8", "coast_series")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the data sets that the command line names, or all small ones."""
    parser = parser_of_names(
        "cookbook_utils.simulate",
        "Write simulated data sets whose truth is known, unless they are there.",
        f"among {', '.join((*SMALL, *FULL))}; default: all small data sets",
        "data/simulated",
    )
    parser.add_argument(
        "--full", action="store_true", help="all scenes of 7000 x 7000 pixels instead"
    )
    parser.add_argument("--points", type=int, help="number of points of each InSAR site")
    options = parser.parse_args(arguments)
    if options.names and options.full:
        parser.error("--full must be given without names")

    writers = (
        dict.fromkeys(SCENES, write_scene)
        | {FOLDER: write_deliveries}
        | dict.fromkeys(SERIES, write_coast)
        | dict.fromkeys(SITES, partial(write_site, n_points=options.points))
    )
    require_names(parser, options.names, writers)
    names = options.names or (FULL if options.full else SMALL)
    return run_each(partial(writers[name], options.folder, name) for name in names)


if __name__ == "__main__":
    sys.exit(main())
