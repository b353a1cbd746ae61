"""What the package means by nodata, label maps, grids, bands and point series."""
