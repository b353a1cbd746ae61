"""Inter-image k-means as a scikit-learn estimator."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from cookbook_utils import __version__
from cookbook_utils._checks import (
    LARGEST,
    as_real_array,
    require_choice,
    require_dims,
    require_integer,
    require_number,
    require_random_state,
    require_real,
)
from cookbook_utils._conventions.nodata import nodata_values
from cookbook_utils.interimage import checkpoints, numba_engine, numpy_engine
from cookbook_utils.interimage.arithmetic import FixedPoint, Scores
from cookbook_utils.interimage.blocks import Extent, LocalBlocks, Sampling, Scene, array_module
from cookbook_utils.interimage.lloyd import best_of_several, lloyd_steps, midpoint_centers
from cookbook_utils.interimage.scenes import (
    Traits,
    as_lazy_as,
    as_maps,
    as_table,
    is_scenes,
    read_scenes,
)

SMALL = 2**16  # pixels below which compiling takes longer than NumPy
LARGE = 2**23  # pixels in host memory from which a GPU is faster, transfer included
START_SAMPLE = 2**15  # pixels, about, on which k-means++ draws and refines its centers
SMALLEST = 1e-153  # range of all bands, in the units of the pixels


class InterImageKMeans(ClusterMixin, BaseEstimator):
    """K-means whose centers are shared by all pixels of all scenes.

    A label then means the same in every scene. Each iteration gives every valid pixel the nearest
    center, flags it if its label changed, and moves each center to the mean of its pixels.

    Parameters
    ----------
    n_clusters : int, default 8
        1 to 255.
    init : {"k-means++", "midpoint"} or array of float (n_clusters, bands), default "k-means++"
        Centers to start from. "k-means++": drawn far apart, on a sample of about 33 000 pixels
        spread over all scenes; each of `n_init` draws is refined on the sample, and the one with
        the least inertia there is fitted on all pixels. "midpoint": the published start, the
        middles of `n_clusters` equal steps from the least to the greatest value of each band over
        all scenes. It needs no random numbers, but one outlier stretches the steps and leaves
        clusters empty.
    n_init : int, default 10
        Number of "k-means++" starts to choose from, 1 to 1000.
    tol : float, default 1e-4
        Stop when `criterion` is below it, and in any case when no label changes.
    criterion : {"changed", "shift"}, default "changed"
        "changed": pixels whose label changed ÷ valid pixels. "shift": the longest way a center
        moved ÷ the diagonal of the box that holds all pixels.
    max_iter : int, default 100
        Iterations at most.
    engine : {"auto", "numpy", "numba", "cupy", "dask"}, default "auto"
        "numpy": the reference. "numba": threads, ``NUMBA_NUM_THREADS`` of them. "cupy": an NVIDIA
        GPU; pixels that it has no room for are sent anew in each iteration. "dask": chunk by
        chunk, on the workers of a `distributed` client if there is one, CuPy arrays on their GPUs;
        what is not persisted is read anew in each iteration. "auto": "dask" for Dask arrays,
        "cupy" for CuPy arrays and, if there is a GPU, for 8 million pixels or more, else "numba"
        but for few pixels. All give the same labels, bit for bit.
    sample : float, optional
        Share of the pixels, above 0 and at most 1, that the centers are found on. By default all.
        The range of the bands, the labels, counts and inertia are those of all pixels always.
    sampling : {"stratified", "random"}, default "stratified"
        "stratified": one pixel from each run of ``1 / sample`` pixels of each scene, so that all
        scenes and all their parts have the same share. "random": each pixel by itself. Which ones
        depends on their position in the scene and on `random_state` alone.
    empty : {"keep", "farthest"}, default "keep"
        A center without pixels stays where it is, or moves to the pixel farthest from its own
        center: one in each iteration, and fitting goes on after it.
    checkpoint : path, optional
        A file, ``.npz``, in a folder that exists, that holds the state after each iteration. If it
        is there, `fit` goes on from it, in any engine and chunks, and finds bit for bit what it
        finds without a checkpoint. To go on after the end, raise `max_iter`, lower `tol` or change
        `criterion`. `fit` refuses a damaged file, one of other pixels, band names, units or
        parameters or of another version of this package, and one that has run more iterations than
        it would itself. To compare the pixels takes the time of about two iterations. A
        `random_state` is needed where anything is drawn at random. One fit at a time can use the
        file; meanwhile a file ``.NAME.lock`` lies beside it.
    random_state : int, RandomState or None, default None
        Random seed of "k-means++" and of `sample`: pass an integer for repeatable labels.

    Attributes
    ----------
    cluster_centers_ : numpy.ndarray of float64 (n_clusters, bands)
        In the units of the pixels.
    labels_ : xarray.DataArray, list of them, or array (n_samples,)
        Each pixel's nearest of `cluster_centers_`. For a scene a map: uint8, its dimensions without
        ``band``, 255 where missing, its coordinates and CRS. For a list of scenes a list of maps.
        For a table int32 (n_samples,). CuPy arrays for CuPy arrays, Dask arrays for Dask arrays.
    n_iter_ : int
        Iterations run.
    inertia_ : float
        Sum of the squared distances of all pixels to their centers.
    change_fraction_ : numpy.ndarray of float64 (iterations,)
        Share of the pixels whose label each iteration changed; 1 in the first.
    counts_ : numpy.ndarray of int64 (scenes, n_clusters)
        Pixels of each cluster in each scene.
    n_features_in_ : int
        Bands.
    feature_names_in_ : numpy.ndarray of str (bands,)
        Their names, where the input has names.

    Notes
    -----
    Every label is the nearest center as float64 computes it, the sum of (x − c)² in the order of
    the bands; of equally near centers a pixel takes the first. The fast engines compare scores in
    float32, whose error is bounded, and compute distances in float64 where the scores are too close
    to tell. Sums are exact: digital numbers are added as integers, and floats are rounded to a
    fixed point first, to 2**-52 of half the range of their band, or 2**-(62 - log2(n)) of it for
    more than 1000 pixels. The result therefore does not depend on the engine or the number of
    threads, chunks or workers.

    For quality see `metrics.simplified_silhouette` and `metrics.sampled_silhouette`.

    References
    ----------
    Han, S., Lee, J. (2024). Parallelized inter-image k-means clustering algorithm for unsupervised
    classification of series of satellite images. Remote Sensing 16(1), 102. doi:10.3390/rs16010102

    Arthur, D., Vassilvitskii, S. (2007). k-means++: the advantages of careful seeding. SODA 2007,
    1027-1035.

    Examples
    --------
    Two scenes of different size, the second with a missing pixel, clustered as one:

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
        self.random_state = random_state

    def fit(self, X: Any, y: None = None) -> InterImageKMeans:
        """Find the centers that all pixels of all scenes share, and label the pixels.

        Parameters
        ----------
        X : xarray.DataArray, list of xarray.DataArray, or array (n_samples, n_features)
            A scene (band, y, x), several of any size in a list, or of one size in an array with
            further dimensions (time, band, y, x); or a table. NumPy, CuPy or Dask arrays: uint8,
            uint16, int16, float32 and float64 are read in place if bands are contiguous, others
            are converted. A pixel of a scene is missing where a band is NaN or nodata, as
            ``_FillValue``, ``missing_value``, ``nodata`` or the rio accessor say; a table must have
            all values. All scenes must have the same bands, in the same order and the same units.
        y : None
            Ignored, there for pipelines.

        Returns
        -------
        InterImageKMeans
            This model.

        Raises
        ------
        TypeError, ValueError
            If a parameter is not as described, values are infinite, bands or units differ, there
            are fewer valid pixels than clusters, an outlier is so large that the other pixels
            cannot be summed beside it, or the checkpoint is damaged or belongs to another fit.
        OSError
            If the checkpoint cannot be read or written, or another fit is writing it.
        """
        self._check_parameters()
        self._check_repeatable()
        with checkpoints.hold(self.checkpoint):
            return self._fit(X)

    def _fit(self, X: Any) -> InterImageKMeans:
        scenes = self._read(X, reset=True)
        blocks = self._blocks(scenes)
        extent = blocks.extent()
        random = check_random_state(self.random_state)
        sampling = part = None
        n_fitted = extent.n_pixels
        if self.sample is not None:
            seed = random.randint(2**31)
            sampling = Sampling(self.sample, self.sampling == "stratified", seed)
            part = self._blocks(scenes, sampling)
            n_fitted = part.extent().n_pixels
        self._check_range(extent)
        if n_fitted < self.n_clusters:
            drawn = f", {n_fitted} of them drawn" if part else ""
            raise ValueError(
                f"n_samples={extent.n_pixels} valid pixels{drawn}: too few for "
                f"n_clusters={self.n_clusters}"
            )
        fixed_point = FixedPoint.of(extent.low, extent.high, blocks.dtype, extent.n_pixels)
        start = self._start(scenes, blocks, extent, fixed_point, random)
        problem = None
        if self.checkpoint is not None:
            problem = self._problem(scenes, blocks, start, sampling)
        state = self._iterate(part or blocks, n_fitted, fixed_point, start, extent, problem)

        self.cluster_centers_ = state.centers
        self.n_iter_ = len(state.steps)
        self.change_fraction_ = np.array([step.changed for step in state.steps])
        blocks.assign(fixed_point, Scores.of(state.centers, blocks.dtype))
        total, *_ = blocks.measure(fixed_point, state.centers)
        self.inertia_ = fixed_point.squares(total)
        self.counts_ = blocks.counts(self.n_clusters)
        self._warn_of_clusters()
        self.labels_ = self._as_given(blocks.labels(), X)
        return self

    def predict(self, X: Any) -> Any:
        """Label the pixels of the same or of other scenes with the centers that `fit` found.

        Parameters
        ----------
        X
            As for `fit`, with the same bands.

        Returns
        -------
        xarray.DataArray, list of them, or array (n_samples,)
            As ``labels_``; from Dask arrays lazy, each chunk computed when asked for.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            If the bands, their order, units or scale are not those of `fit`. Where the pixels do
            not tell them, a UserWarning says what is taken for granted.
        """
        check_is_fitted(self)
        blocks = self._blocks(self._read(X, reset=False))
        # Nothing is summed: pixels may lie outside the range that sums were made for.
        bands = self.cluster_centers_.shape[1]
        no_sums = FixedPoint(np.zeros(bands), np.zeros(bands), 0.0, 0.0)
        labels = blocks.predict(no_sums, Scores.of(self.cluster_centers_, blocks.dtype))
        return self._as_given(labels, X)

    def _warn_of_clusters(self) -> None:
        """Warn of clusters without pixels, and of scenes whose pixels all have one label."""
        empty = np.flatnonzero(self.counts_.sum(axis=0) == 0)
        if empty.size:
            warnings.warn(
                f"{empty.size} of {self.n_clusters} clusters are empty, {empty.tolist()}: use "
                "fewer clusters, another init, or empty='farthest'",
                UserWarning,
                stacklevel=4,
            )
        narrow = np.flatnonzero((self.counts_ > 0).sum(axis=1) == 1)
        if self.n_clusters > 1 and len(self.counts_) > 1 and narrow.size:
            warnings.warn(
                f"scenes {narrow.tolist()} lie in one cluster each: check that all scenes hold the "
                "same bands in the same units",
                UserWarning,
                stacklevel=4,
            )

    # -- iterations -------------------------------------------------------------------------

    def _check_range(self, extent: Extent) -> None:
        """Raise ValueError if differences of pixels are so small that their squares vanish."""
        widest = float((extent.high - extent.low).max())
        if 0 < widest < SMALLEST:
            raise ValueError(
                f"pixels must differ by at least {SMALLEST:g} somewhere, got a range of {widest:g}:"
                " squares of such numbers vanish in float64; multiply the pixels first"
            )

    def _start(
        self, scenes: list[Scene], blocks, extent: Extent, fixed_point: FixedPoint,
        random: np.random.RandomState,
    ) -> np.ndarray:  # fmt: skip
        k, (low, high, n) = self.n_clusters, extent
        seed = random.randint(2**31)
        if self._draws_start() or (fixed_point.unit != 1).any():
            share = min(1.0, max(START_SAMPLE, 64 * k) / n)
            drawn = Sampling(share, stratified=True, seed=seed)
            pixels = (self._blocks(scenes, drawn) if share < 1 else blocks).pixels()
            fixed_point.require_resolved(pixels)
        if not isinstance(self.init, str):
            centers = np.array(as_real_array(self.init, "init"), np.float64)
            if centers.shape != (k, len(low)) or not np.isfinite(centers).all():
                raise ValueError(
                    f"init must be {k} centers of {len(low)} finite numbers each, got an array "
                    f"of shape {centers.shape}"
                )
            if not (np.abs(centers) <= LARGEST).all():
                raise ValueError(f"init must hold numbers of at most {LARGEST:g} in size")
            return centers
        if self.init == "midpoint":
            return midpoint_centers(low, high, k)
        return best_of_several(pixels, k, self.n_init, random)

    def _iterate(
        self, blocks, n: int, fixed_point: FixedPoint, start: np.ndarray, extent: Extent,
        problem: dict[str, Any] | None,
    ) -> checkpoints.State:  # fmt: skip
        state = self._resume(start, problem)
        if self._done(state):
            return state
        sums = counts = 0
        if state.steps:  # the labels of the last iteration
            scores = Scores.of(state.labeled_by, blocks.dtype)
            _, sums, counts = blocks.assign(fixed_point, scores)
        diagonal = float(np.linalg.norm(extent.high - extent.low))
        for changed, sizes, before, centers in lloyd_steps(
            blocks, fixed_point, state.centers, sums, counts
        ):
            moved = self.empty == "farthest" and self._fill_empty(
                blocks, fixed_point, sizes, centers
            )
            shift = float(np.linalg.norm(centers - before, axis=1).max())
            step = checkpoints.Step(changed / n, shift / (diagonal or 1.0), bool(moved))
            state = checkpoints.State(centers, before, [*state.steps, step])
            if problem is not None:
                checkpoints.save(self.checkpoint, state, problem)
            if self._done(state):
                return state

    def _resume(self, start: np.ndarray, problem: dict[str, Any] | None) -> checkpoints.State:
        """Return the state to go on from: that of the checkpoint, if there is one."""
        stored = None if problem is None else checkpoints.load(self.checkpoint, problem)
        if stored is None:
            return checkpoints.State(start, start, [])
        # A fit that went on for longer has other centers than this one would find.
        for number, step in enumerate(stored.steps[:-1], start=1):
            if self._ends(number, step):
                raise ValueError(
                    "checkpoint must be no farther than this fit, which ends after iteration "
                    f"{number} by its max_iter, tol and criterion, got {self.checkpoint} after "
                    f"iteration {len(stored.steps)}: raise max_iter, lower tol, remove the file, "
                    "or name another"
                )
        return stored

    def _done(self, state: checkpoints.State) -> bool:
        return bool(state.steps) and self._ends(len(state.steps), state.steps[-1])

    def _ends(self, number: int, step: checkpoints.Step) -> bool:
        """Return whether the iteration of this number, from 1, is the last one."""
        value = step.changed if self.criterion == "changed" else step.shift
        settled = (value < self.tol or step.changed == 0) and not step.moved
        return settled or number >= self.max_iter

    def _problem(
        self, scenes: list[Scene], blocks, start: np.ndarray, sampling: Sampling | None
    ) -> dict[str, Any]:
        """Return all that decides what each iteration finds: a checkpoint of others is refused."""
        return {
            "start": start,
            "empty": self.empty,
            "sampling": sampling,
            "dtype": blocks.dtype,
            "shapes": [scene.values.shape for scene in scenes],
            **self._traits._asdict(),
            "pixels": blocks.digest(),
            "version": __version__,
        }

    def _draws_start(self) -> bool:
        return isinstance(self.init, str) and self.init == "k-means++"

    def _check_repeatable(self) -> None:
        drawn = self.sample is not None or self._draws_start()
        if self.checkpoint is not None and self.random_state is None and drawn:
            raise ValueError(
                "random_state must be an integer where a checkpoint is kept and `init` or `sample` "
                "draws at random, got None: another fit could not go on from the checkpoint"
            )

    def _fill_empty(self, blocks, fixed_point, counts: np.ndarray, centers: np.ndarray) -> bool:
        """Move the first center without pixels to the farthest pixel; return whether one moved."""
        empty = np.flatnonzero(counts == 0)
        if not empty.size:
            return False
        _, squared, pixel = blocks.measure(fixed_point, centers)
        if squared > 0:
            centers[empty[0]] = pixel
        return squared > 0

    # -- input and output -------------------------------------------------------------------

    def _read(self, X: Any, *, reset: bool) -> list[Scene]:
        if is_scenes(X):
            scenes, traits = read_scenes(X)
            self._check_bands(scenes[0].values.shape[0], traits, reset)
            return scenes
        return [self._read_table(X, reset)]

    def _check_bands(self, n_bands: int, traits: Traits, reset: bool) -> None:
        """Hold what the bands are in `fit`, and compare with it in `predict`."""
        if reset:
            self.n_features_in_, self._traits = n_bands, traits
            if traits.bands is not None and all(isinstance(name, str) for name in traits.bands):
                self.feature_names_in_ = np.asarray(traits.bands, object)
            elif hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
            return
        if n_bands != self.n_features_in_:
            raise ValueError(
                f"X must have the {self.n_features_in_} bands that the model was fitted on, got "
                f"{n_bands}: X has {n_bands} features, but InterImageKMeans is expecting "
                f"{self.n_features_in_} features as input"
            )
        traits.require(self._traits, "X", "the pixels of fit")
        traits.warn_if_less(self._traits)

    def _read_table(self, X: Any, reset: bool) -> Scene:
        traits, nodata = Traits(None, ()), ()
        if isinstance(X, xr.DataArray):
            require_dims(X, X.dims, "X")
            nodata = nodata_values(X)
            X = X.transpose(..., "band") if "band" in X.dims else X
            traits = Traits.of(X)
            X = X.data
        else:
            X = as_table(X)
            if hasattr(X, "columns"):
                traits = Traits(tuple(X.columns), ())
            elif hasattr(self, "feature_names_in_") and not reset:
                traits = traits._replace(bands=self._traits.bands)  # scikit-learn warns of it
            if not hasattr(X, "dask") and array_module(X) is np:
                # Missing and infinite values are refused where those of scenes are looked for.
                X = validate_data(self, X, reset=reset, ensure_all_finite=False)
        require_real(X, "X")
        self._check_bands(X.shape[1], traits, reset)
        return Scene(X.T, nodata, complete=True)

    def _as_given(self, labels: list, X: Any) -> Any:
        return as_maps(labels, X) if is_scenes(X) else as_lazy_as(labels[0], X).astype(np.int32)

    def _blocks(self, scenes: list[Scene], sampling: Sampling | None = None):
        lazy = any(hasattr(scene.values, "dask") for scene in scenes)
        if self.engine == "dask" or (lazy and self.engine == "auto"):
            from cookbook_utils.interimage.dask_engine import DaskBlocks

            return DaskBlocks(scenes, sampling)
        n = sum(scene.values[0].size for scene in scenes)
        if self._on_gpu(scenes, n):
            from cookbook_utils.interimage.cupy_engine import CupyBlocks

            return CupyBlocks(scenes, sampling)
        small = self.engine == "numpy" or (self.engine == "auto" and n < SMALL)
        return LocalBlocks(scenes, numpy_engine if small else numba_engine, sampling)

    def _on_gpu(self, scenes: list[Scene], n: int) -> bool:
        if self.engine == "cupy":
            return True
        there = any(array_module(scene.values) is not np for scene in scenes)
        if there and self.engine != "auto":
            raise ValueError(
                f"engine must be 'cupy' or 'auto' for CuPy arrays, got {self.engine!r}"
            )
        if there or self.engine != "auto" or n < LARGE:
            return there
        from cookbook_utils.interimage import cupy_engine

        return cupy_engine.missing() is None

    def _check_parameters(self) -> None:
        require_integer(self.n_clusters, "n_clusters", least=1, most=255)
        require_integer(self.n_init, "n_init", least=1, most=1000)
        require_integer(self.max_iter, "max_iter", least=1)
        require_number(self.tol, "tol", least=0)
        if self.sample is not None:
            require_number(self.sample, "sample", above=0, most=1)
        if not (self.random_state is None or self.random_state is np.random):
            if not isinstance(self.random_state, np.random.RandomState):
                require_random_state(self.random_state)
        require_choice(self.criterion, "criterion", ("changed", "shift"))
        require_choice(self.engine, "engine", ("auto", "numpy", "numba", "cupy", "dask"))
        require_choice(self.sampling, "sampling", ("stratified", "random"))
        require_choice(self.empty, "empty", ("keep", "farthest"))
        if isinstance(self.init, str):
            require_choice(self.init, "init", ("k-means++", "midpoint"))
        if not (self.random_state is None or isinstance(self.random_state, np.random.RandomState)):
            require_random_state(self.random_state)
