"""Write simulated data sets to disk: ``python -m cookbook_utils.simulate``."""

from __future__ import annotations

import argparse
from functools import partial

from cookbook_utils.simulate import SCENES, SERIES, SITES, write_coast, write_scene, write_site

SMALL = ("landsat_5_small", "landsat_8_small", "coast_series_small", *SITES)
FULL = ("landsat_5", "landsat_8", "coast_series")


def main() -> None:
    """Write the data sets that the command line names, or all small ones."""
    parser = argparse.ArgumentParser(
        prog="python -m cookbook_utils.simulate",
        description="Write simulated data sets whose truth is known, unless they are there.",
        epilog=f"The data sets are: {', '.join((*SMALL, *FULL))}.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all small data sets")
    parser.add_argument(
        "--full", action="store_true", help="all scenes of 7000 x 7000 pixels instead"
    )
    parser.add_argument("--folder", default="data/simulated", help="default: %(default)s")
    parser.add_argument("--points", type=int, help="number of points of each InSAR site")
    options = parser.parse_args()
    if options.names and options.full:
        parser.error("--full must be given without names")

    writers = (
        dict.fromkeys(SCENES, write_scene)
        | dict.fromkeys(SERIES, write_coast)
        | dict.fromkeys(SITES, partial(write_site, n_points=options.points))
    )
    names = options.names or (FULL if options.full else SMALL)
    if unknown := [name for name in names if name not in writers]:
        parser.error(f"names must be among {', '.join(writers)}, got {', '.join(unknown)}")
    for name in names:
        print(writers[name](options.folder, name))


if __name__ == "__main__":
    main()
