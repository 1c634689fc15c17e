"""Where several workers count: files in one folder, which prometheus_client sums up."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory


@contextmanager
def metrics_folder(workers: int) -> Iterator[None]:
    """Give several workers a folder to count in while the block lasts.

    To be entered before prometheus_client is imported: it looks for the folder then, and only then.
    """
    if workers == 1:
        yield
        return
    with TemporaryDirectory(prefix="gateway-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield
