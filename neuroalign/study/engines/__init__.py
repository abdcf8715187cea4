"""Where the stages of a study run: in this process, in processes of this machine, on a Ray or SLURM cluster, or elsewhere."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

from neuroalign.study.engines.base import Engine

__all__: list[str] = []

NAMES = ("serial", "local", "ray", "slurm")


def engine(kind: str | Executor | Engine, **options: Any) -> Engine:
    """An engine by name, or around any executor of :mod:`concurrent.futures` (PEP 3148).

    Args:
        kind: "local", "ray", "slurm", "serial" (this process, for debuggers); or an executor, such as those of joblib
            (loky), dask (``client.get_executor()``) and mpi4py.
        **options: Options of the engine; see its class.

    Raises:
        ValueError: If there is no engine of this name.
        ImportError: If it needs a package that is not installed; the message names the extra.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from neuroalign.study.graph import Resources
        >>> with ThreadPoolExecutor(2) as pool, engine(pool) as threads:
        ...     threads.submit(lambda: 3, Resources()).result()
        3
    """
    from neuroalign.study.engines.adapter import ExecutorEngine, SerialEngine

    if isinstance(kind, Engine):
        return kind
    if kind == "serial":
        return SerialEngine(**options)
    if kind == "local":
        from neuroalign.study.engines.local import LocalEngine

        return LocalEngine(**options)
    if kind == "ray":
        from neuroalign.study.engines.ray import RayEngine

        return RayEngine(**options)
    if kind == "slurm":
        from neuroalign.study.engines.slurm import SlurmEngine

        return SlurmEngine(**options)
    if callable(getattr(kind, "submit", None)):
        return ExecutorEngine(kind, **options)  # type: ignore[arg-type]
    raise ValueError(f"no engine {kind!r}: choose one of {', '.join(NAMES)}, or give an executor of concurrent.futures")
