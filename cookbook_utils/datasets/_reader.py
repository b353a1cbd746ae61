"""The base class of the readers: it checks the arguments of ``read``."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

from intake.readers.readers import BaseReader

from cookbook_utils.datasets._facts import require_facts
from cookbook_utils.datasets._text import did_you_mean


class CheckedReader(BaseReader):
    """A reader of intake that checks its arguments before it reads.

    Subclasses define ``_read`` with keyword arguments only.
    """

    read_arguments = ("year", "chunks")
    """Arguments that a user passes to ``read``; all others stand in the catalog."""

    checked_later = ()
    """Arguments that the function behind the reader checks, because a user may pass other types."""

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """Read the data set.

        Parameters
        ----------
        *args : Any
            Not accepted: all arguments must be named.
        **kwargs : Any
            Arguments that replace those of the catalog.

        Returns
        -------
        xarray.DataArray or xarray.Dataset
            The data set.

        Raises
        ------
        TypeError, ValueError
            If an argument is unknown, missing or wrong.
        """
        what = self.kwargs.get("name") or f"a {type(self).__name__}"
        if args:
            raise TypeError(f"{what}: the arguments of read must be named, got {args[0]!r}")
        arguments = {**self.kwargs, **kwargs}
        parameters = inspect.signature(self._read).parameters
        if unknown := [name for name in arguments if name not in parameters]:
            raise TypeError(
                f"{what}: the arguments of read must be among {', '.join(parameters)}, "
                f"got {unknown[0]!r}{did_you_mean(unknown[0], parameters)}"
            )
        if missing := [
            name
            for name, parameter in parameters.items()
            if parameter.default is parameter.empty and name not in arguments
        ]:
            raise TypeError(f"{what}: the catalog must give {', '.join(missing)}, got none")
        facts = {key: arguments[key] for key in arguments if key not in self.checked_later}
        require_facts(facts, what)
        return super().read(**kwargs)


def local_folder(address: str | os.PathLike[str]) -> Path:
    """Return the path of a folder given as a path or as an address ``file:///...``.

    Parameters
    ----------
    address : str or path-like
        The folder; intake gives an address.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ValueError
        If it is an address on another machine.
    """
    from fsspec.core import split_protocol, strip_protocol

    protocol, _ = split_protocol(address)
    if protocol not in (None, "file", "local"):
        raise ValueError(f"folder must be a folder of this machine, got {address!r}")
    return Path(strip_protocol(address))
