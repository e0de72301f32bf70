"""Who works on an attack: this process, several of this machine, or a cluster of Ray."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from advlab.errors import InvalidValue
from advlab.validation import as_int

_MOST = 1024  # processes of one machine


@contextlib.contextmanager
def use_workers(workers: int | None = None, *, ray: str | None = None) -> Iterator[None]:
    """Let other processes work on every attack of a ``with`` block, each on slices of the images.

    The random draws of an image depend on its index alone, so the result is that of one process: success flags agree
    on all but 0.1 % of images. A universal perturbation, a patch, attacks that run in another library and functions of
    your own stay in this process. Finished slices are kept where the archive will lie; the same call continues.

    Args:
        workers: Processes of this machine, which share its cores, and of several GPUs get one each. With ``ray`` the
            most tasks at a time; None: as many as the cluster has room for.
        ray: ``"local"`` starts Ray on this machine for the length of the block; ``"auto"`` or an address,
            ``"10.0.0.1:6379"``, joins a cluster, all of whose nodes must have this version of advlab and TensorFlow.

    Raises:
        InvalidValue: For another number of workers, more than memory holds, or an address that does not answer.
        AdvlabError: Where Ray is not installed.
        Mismatch: For a cluster with other versions.
    """
    if workers is not None:
        workers = as_int("workers", workers, 1, _MOST)
    elif ray is None:
        raise InvalidValue("Say who works: workers=2, or ray='local'.")

    from advlab.engine import executor

    if ray is not None:
        from advlab.distributed.cluster import Cluster

        pool: Cluster | Processes = Cluster(ray, workers)
    else:
        from advlab.distributed.processes import Processes

        pool = Processes(workers or 1)
    try:
        with executor.using(pool):
            yield
    finally:
        pool.close()
