"""Inter-image k-means as a scikit-learn estimator."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from cookbook_utils import __version__
from cookbook_utils._checks import require_real
from cookbook_utils.interimage import checkpoints, models
from cookbook_utils.interimage.arithmetic import FixedPoint, Scores
from cookbook_utils.interimage.blocks import Scene, array_module
from cookbook_utils.interimage.checks import check_parameters, warn_of_clusters
from cookbook_utils.interimage.engines import Engine
from cookbook_utils.interimage.loop import LloydLoop
from cookbook_utils.interimage.passes import Extent
from cookbook_utils.interimage.sampling import Sampling
from cookbook_utils.interimage.scenes import as_maps, compute_unless_lazy, is_scenes, read_scenes
from cookbook_utils.interimage.selection import make_engine
from cookbook_utils.interimage.starts import best_of_several, given_centers, midpoint_centers
from cookbook_utils.interimage.tables import read_table
from cookbook_utils.interimage.traits import Traits

START_SAMPLE_PIXELS = 2**15  # approximate size of the sample for k-means++
LEAST_RANGE = 1e-153  # of the widest band, if not 0; squares of smaller differences underflow


class InterImageKMeans(ClusterMixin, BaseEstimator):
    """Cluster all pixels of many scenes with centers that all scenes share.

    A label then stands for the same values in every scene, and for the same ground if a value means
    the same on every date. Use it for a series of scenes that are compared with each other, of any
    number and size. Each iteration assigns every valid pixel to its nearest center and moves each
    center to the mean of its pixels (Lloyd's algorithm).

    Parameters
    ----------
    n_clusters : int, default 8
        Number of clusters, 1 to 65 535. The time to draw a "k-means++" start grows with its square:
        for thousands, set `n_init` to 1, or give `init`.
    init : {"k-means++", "midpoint"} or array of float (n_clusters, bands), default "k-means++"
        Centers to start from. With "k-means++" they are drawn far apart on a sample of about 33 000
        pixels of all scenes; each of `n_init` draws is refined on the sample, and the iterations
        start from the centers with the least inertia there. With "midpoint", the published start,
        they are the middles of `n_clusters` equal steps from the least to the greatest value of
        each band over all scenes. This needs no random numbers, but one outlier stretches the steps
        and leaves clusters empty.
    n_init : int, default 10
        Number of "k-means++" starts to choose from, 1 to 1000.
    tol : float, default 1e-4
        Tolerance: iteration ends when `criterion` is below it, or when no label changes.
    criterion : {"changed", "shift"}, default "changed"
        Measure of convergence. "changed" is the share of the valid pixels whose label changed.
        "shift" is the largest distance that a center moved, divided by the diagonal of the bounding
        box of all pixels.
    max_iter : int, default 100
        Largest number of iterations.
    engine : {"auto", "numpy", "numba", "cupy", "dask"}, default "auto"
        Implementation; all give the same labels, bit for bit. "numpy" is the reference. "numba"
        uses ``NUMBA_NUM_THREADS`` threads and, for 16 centers or more of 400 coordinates or more,
        8 bytes of memory for each pixel to skip what cannot change. "cupy" uses an NVIDIA GPU;
        pixels that do not fit in device memory are transferred again in each iteration. "dask"
        works on chunks, on the workers of a `distributed` client if there is one, and on their GPUs
        for CuPy arrays. "auto" takes "dask" for Dask arrays, "cupy" for CuPy arrays and, if there
        is a GPU, for 8 million pixels or more, otherwise "numba", or "numpy" for fewer than 65 536
        pixels.
    sample : float, optional
        Share of the pixels, above 0 and at most 1, on which the centers are found; by default all.
        The range of the bands, the labels, counts and inertia are always those of all pixels.
    sampling : {"stratified", "random"}, default "stratified"
        How the sample is drawn. "stratified" draws one pixel from each run of ``1 / sample`` pixels
        of each scene, so that all parts of all scenes have the same share. "random" draws each
        pixel independently. The sample depends only on `random_state` and positions in the scenes.
    empty : {"keep", "farthest"}, default "keep"
        What happens to a center without pixels. "keep" leaves it where it is. "farthest" moves it
        to the pixel farthest from its own center, one center in each iteration, and continues.
    checkpoint : path, optional
        File that stores the state after each iteration, in a folder that exists. If the file
        exists, `fit` resumes from it, with any engine and chunks, and the result is bit for bit
        that of a fit without a checkpoint. To continue a finished fit, raise `max_iter`, lower
        `tol` or change `criterion`. `fit` refuses a file that is damaged, that holds more
        iterations than this fit would run, or that was written for other pixels, band names, units
        or parameters, or by another version of this package. To compare the pixels takes about as
        long as two iterations. `random_state` is needed where anything is drawn at random. One fit
        at a time may use the file, and locks it by a file ``.NAME.lock`` in the same folder.
    persist : {"auto", True, False}, default "auto"
        Whether the pixels of Dask arrays stay in memory during `fit`, as the workers hold them.
        Otherwise they are read again in each iteration. "auto" keeps them if they fit: beside what
        the workers of a `distributed` client need to read chunks, up to the share of their memory
        beyond which Dask moves data to disk; without a client, in a quarter of the memory that is
        available. Persisted chunks are used where they are.
    random_state : int, RandomState or None, default None
        Random seed of "k-means++" and of `sample`. Pass an integer for reproducible labels.

    Attributes
    ----------
    cluster_centers_ : numpy.ndarray of float64 (n_clusters, bands)
        Centers, in the units of the pixels.
    labels_ : xarray.DataArray, list of xarray.DataArray, or array (n_samples,)
        Index of the nearest of `cluster_centers_` for each pixel. For a scene it is a map with the
        dimensions of the scene without ``band``, its coordinates and CRS: uint8, and 255 for
        nodata, or with more than 255 clusters uint16, and 65535 for nodata, which
        ``attrs["_FillValue"]`` says. For a list of scenes it is a list of maps. For a table it is
        int32 (n_samples,). CuPy arrays give CuPy arrays, and Dask arrays give Dask arrays.
    n_iter_ : int
        Number of iterations.
    inertia_ : float
        Sum of the squared distances of all pixels to their centers.
    change_fraction_ : numpy.ndarray of float64 (n_iter_,)
        Share of the pixels, or of the sample, whose label changed in each iteration; 1 in the
        first.
    counts_ : numpy.ndarray of int64 (scenes, n_clusters)
        Number of pixels of each cluster in each scene.
    n_features_in_ : int
        Number of bands.
    feature_names_in_ : numpy.ndarray of str (bands,)
        Names of the bands, if the input has names.

    See Also
    --------
    cookbook_utils.metrics.simplified_silhouette : Rate a clustering of any number of pixels.
    cookbook_utils.metrics.sampled_silhouette : Rate a clustering on a sample of the pixels.

    Notes
    -----
    Every label is the index of the nearest center as float64 computes it: the sum of (x − c)² in
    the order of the bands; of equally near centers the first is taken. The compiled engines compare
    scores in float32, whose rounding error is bounded, and compute distances in float64 where two
    scores are closer than the bound. Sums are exact: integers are added as they are, and floats are
    rounded to fixed point first, to 2**-52 of half the range of their band, or to
    2**-(62 - log2(n)) of it for n > 1000 pixels. The result therefore does not depend on the engine
    or the number of threads, chunks or workers.

    References
    ----------
    Han, S., Lee, J. (2024). Parallelized inter-image k-means clustering algorithm for unsupervised
    classification of series of satellite images. Remote Sensing 16(1), 102. doi:10.3390/rs16010102

    Arthur, D., Vassilvitskii, S. (2007). k-means++: the advantages of careful seeding. SODA 2007,
    1027-1035.

    Examples
    --------
    Cluster two scenes of different sizes, of which the second has a nodata pixel:

    >>> first = xr.DataArray([[[0.1, 0.1], [0.2, 0.8]]], dims=("band", "y", "x"))
    >>> second = xr.DataArray([[[0.9, np.nan, 0.1]]], dims=("band", "y", "x"))
    >>> model = InterImageKMeans(n_clusters=2, random_state=0).fit([first, second])
    >>> model.cluster_centers_.round(3).tolist()
    [[0.125], [0.85]]
    >>> [labels.values.tolist() for labels in model.labels_]
    [[[0, 0], [0, 1]], [[1, 255, 0]]]
    """

    def __init__(
        self,
        n_clusters=8,
        *,
        init="k-means++",
        n_init=10,
        tol=1e-4,
        criterion="changed",
        max_iter=100,
        engine="auto",
        sample=None,
        sampling="stratified",
        empty="keep",
        checkpoint=None,
        persist="auto",
        random_state=None,
    ):
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.tol = tol
        self.criterion = criterion
        self.max_iter = max_iter
        self.engine = engine
        self.sample = sample
        self.sampling = sampling
        self.empty = empty
        self.checkpoint = checkpoint
        self.persist = persist
        self.random_state = random_state

    def fit(self, X: Any, y: None = None) -> InterImageKMeans:
        """Find the centers that all pixels of all scenes share, and label the pixels.

        Parameters
        ----------
        X : xarray.DataArray, list of xarray.DataArray, or array (n_samples, n_features)
            A scene (band, y, x), scenes of any size in a list, scenes of one size in an array with
            further dimensions, such as (time, band, y, x), or a table. Values are NumPy, CuPy or
            Dask arrays: uint8, uint16, int16, float32 and float64 are read in place if bands are
            contiguous, other dtypes are converted. A pixel of a scene is invalid where a band is
            NaN or has the nodata value of ``_FillValue``, ``missing_value``, ``nodata`` or the rio
            accessor; a table must not have nodata. All scenes must have the same bands, in the same
            order and in the same units. Dask arrays must give the same pixels each time they are
            computed.
        y : None
            Ignored; required by scikit-learn's pipelines.

        Returns
        -------
        InterImageKMeans
            The fitted estimator.

        Raises
        ------
        TypeError
            If a parameter or `X` has the wrong type.
        ValueError
            If a parameter is out of range, values are infinite, bands or units differ, there are
            fewer valid pixels than clusters, an outlier is so large that fixed point rounds the
            other pixels to few values, a chunk is too large for the memory of a worker or has
            another shape than its Dask array declares, or the checkpoint is damaged or belongs to
            another fit.
        OSError
            If a chunk or the checkpoint cannot be read or written, or another fit has locked it.
        TimeoutError
            If the cluster of the `distributed` client has no worker for 300 s, or for the time that
            ``distributed.scheduler.no-workers-timeout`` in Dask's configuration says.
        RuntimeError
            If several workers died one after the other while they worked on the same chunks, if the
            cluster was closed or restarted meanwhile, or if a worker has not this version of the
            package.
        """
        check_parameters(self)
        with checkpoints.hold(self.checkpoint), ExitStack() as engines:
            return self._fit(X, engines)

    def _fit(self, X: Any, engines: ExitStack) -> InterImageKMeans:
        scenes = self._read(X, reset=True)
        engine = make_engine(self.engine, scenes, self.n_clusters, persist=self.persist)
        engines.enter_context(closing(engine))
        extent = engine.extent()
        random = check_random_state(self.random_state)
        fitted, n_fitted, sampling = engine, extent.n_pixels, None
        if self.sample is not None:
            seed = random.randint(2**31)
            sampling = Sampling(self.sample, self.sampling == "stratified", seed)
            fitted = make_engine(self.engine, scenes, self.n_clusters, sampling)
            engines.enter_context(closing(fitted))
            n_fitted = fitted.extent().n_pixels
        self._check_pixels(extent, n_fitted)
        fixed_point = FixedPoint.of(extent.low, extent.high, engine.dtype, extent.n_pixels)
        start = self._start(engine, extent, fixed_point, random)
        problem = None
        if self.checkpoint is not None:
            problem = self._problem(scenes, engine, start, sampling)
        loop = LloydLoop(self.criterion, self.tol, self.max_iter, self.empty, self.checkpoint)
        state = loop.run(fitted, n_fitted, fixed_point, start, extent, problem)

        self.cluster_centers_ = state.centers
        self.n_iter_ = len(state.iterations)
        self.change_fraction_ = np.array([iteration.changed for iteration in state.iterations])
        engine.label(Scores.of(state.centers, engine.dtype))
        distances = engine.sum_squared_distances(fixed_point, state.centers)
        self.inertia_ = fixed_point.squared_units(distances.total)
        self.counts_ = engine.cluster_sizes(self.n_clusters)
        warn_of_clusters(self.counts_)
        self.labels_ = self._as_given(engine.labels(), X)
        return self

    def predict(self, X: Any) -> Any:
        """Label the pixels of the same or of other scenes with the centers that `fit` found.

        Parameters
        ----------
        X : xarray.DataArray, list of xarray.DataArray, or array (n_samples, n_features)
            Scenes or a table as for `fit`, with the same bands.

        Returns
        -------
        xarray.DataArray, list of xarray.DataArray, or array (n_samples,)
            Labels as in ``labels_``; for Dask arrays lazy, each chunk computed on demand.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If `fit` was not called before.
        ValueError
            If the bands, their order, units or scale are not those of `fit`. Where they are
            unknown, a UserWarning says what is assumed.
        """
        check_is_fitted(self)
        centers = self.cluster_centers_
        engine = make_engine(self.engine, self._read(X, reset=False), len(centers))
        labels = engine.predict(Scores.of(centers, engine.dtype))
        return self._as_given(labels, X)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to an .npz of plain arrays with a checksum, atomically.

        Centers, band names, units, parameters and the version of this package are kept. ``labels_``
        are not, and neither are `engine` and `checkpoint`, which belong to the machine.

        Parameters
        ----------
        path : str or os.PathLike
            The file, in a folder that exists. An existing file is replaced.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted.
        TypeError
            If `path` is not a path.
        ValueError
            If a name of a band is neither text nor a number, or arrays have more than 0.5 GB.
        OSError
            If the file cannot be written.
        """
        check_is_fitted(self)
        models.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> InterImageKMeans:
        """Read a model that `save` wrote, perhaps on another machine.

        Its labels are bit for bit those of the fitted model, with every engine, and it refuses the
        scenes that the fitted model refuses.

        Parameters
        ----------
        path : str or os.PathLike
            The file.

        Returns
        -------
        InterImageKMeans
            The fitted model, without ``labels_``. `engine` is "auto".

        Raises
        ------
        TypeError
            If `path` is not a path.
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, holds another class of models, has a newer format, or is
            something else.
        """
        return models.load(cls, path)

    # -- the start ---------------------------------------------------------------------------

    def _start(
        self,
        engine: Engine,
        extent: Extent,
        fixed_point: FixedPoint,
        random: np.random.RandomState,
    ) -> np.ndarray:
        """Return the centers to start from, float64 (n_clusters, bands)."""
        k, seed = self.n_clusters, random.randint(2**31)
        if self._draws_start() or fixed_point.is_rounded:
            share = min(1.0, max(START_SAMPLE_PIXELS, 64 * k) / extent.n_pixels)
            drawn = Sampling(share, stratified=True, seed=seed) if share < 1 else None
            pixels = engine.valid_pixels(drawn)
            fixed_point.require_resolved(pixels)
        if not isinstance(self.init, str):
            return given_centers(self.init, k, len(extent.low))
        if self.init == "midpoint":
            return midpoint_centers(extent.low, extent.high, k)
        return best_of_several(pixels, k, self.n_init, random)

    def _draws_start(self) -> bool:
        return isinstance(self.init, str) and self.init == "k-means++"

    def _problem(
        self, scenes: list[Scene], engine: Engine, start: np.ndarray, sampling: Sampling | None
    ) -> dict[str, Any]:
        """Return everything that determines the iterations, for the checkpoint to compare."""
        return {
            "start": start,
            "empty": self.empty,
            "sampling": sampling,
            "dtype": engine.dtype,
            "shapes": [scene.values.shape for scene in scenes],
            **self._traits._asdict(),
            "pixels": engine.digest(),
            "version": __version__,
        }

    # -- input and output --------------------------------------------------------------------

    def _read(self, X: Any, *, reset: bool) -> list[Scene]:
        """Return the pixels of `X`; with `reset` store its bands, otherwise compare them."""
        if is_scenes(X):
            scenes, traits = read_scenes(X)
        else:
            scene, traits = self._read_table(X, reset)
            scenes = [scene]
        n_bands = scenes[0].values.shape[0]
        if reset:
            self._store_bands(n_bands, traits)
        else:
            self._check_bands(n_bands, traits)
        return scenes

    def _read_table(self, X: Any, reset: bool) -> tuple[Scene, Traits]:
        table, nodata, traits = read_table(X)
        if not isinstance(X, xr.DataArray):
            if traits.bands is None and hasattr(self, "feature_names_in_") and not reset:
                # `validate_data` warns that the names are missing.
                traits = traits._replace(bands=self._traits.bands)
            if not hasattr(table, "dask") and array_module(table) is np:
                # `blocks.load` refuses NaN and infinite values.
                table = validate_data(self, table, reset=reset, ensure_all_finite=False)
        require_real(table, "X")
        return Scene(table.T, nodata, complete=True), traits

    def _store_bands(self, n_bands: int, traits: Traits) -> None:
        self.n_features_in_, self._traits = n_bands, traits
        if traits.bands is not None and all(isinstance(name, str) for name in traits.bands):
            self.feature_names_in_ = np.asarray(traits.bands, object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _check_bands(self, n_bands: int, traits: Traits) -> None:
        if n_bands != self.n_features_in_:
            raise ValueError(
                f"X must have the {self.n_features_in_} bands that the model was fitted on, got "
                f"{n_bands}: X has {n_bands} features, but InterImageKMeans is expecting "
                f"{self.n_features_in_} features as input"
            )
        traits.require(self._traits, "X", "the pixels of fit")
        traits.warn_if_unknown(self._traits)

    def _as_given(self, labels: list, X: Any) -> Any:
        if is_scenes(X):
            return as_maps(labels, X)
        return compute_unless_lazy(labels[0], X).astype(np.int32)

    # -- checks ------------------------------------------------------------------------------

    def _check_pixels(self, extent: Extent, n_fitted: int) -> None:
        """Raise ValueError if there are too few pixels, or if squared differences underflow."""
        widest = float((extent.high - extent.low).max())
        if 0 < widest < LEAST_RANGE:
            raise ValueError(
                f"pixels must have a band with a range of at least {LEAST_RANGE:g}, got at most "
                f"{widest:g}: squares of such differences underflow in float64; multiply the "
                "pixels by a constant first"
            )
        if n_fitted < self.n_clusters:
            drawn = "" if self.sample is None else f", {n_fitted} of them drawn"
            raise ValueError(
                f"X must have at least n_clusters={self.n_clusters} valid pixels, got "
                f"n_samples={extent.n_pixels}{drawn}"
            )
