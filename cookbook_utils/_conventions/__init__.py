"""Conventions of the package for nodata, label maps, grids, bands and points."""
