"""Where several workers count: files in one folder, which prometheus_client sums up."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def metrics_folder(workers: int) -> Iterator[None]:
    """Give several workers a folder to count in while the block lasts.

    To be entered before prometheus_client is imported: it looks for the folder then, and only then.
    """
    if workers == 1:
        yield
        return
    with TemporaryDirectory(prefix="gateway-metrics-") as folder:
        os.environ[FOLDER] = folder
        yield


def forget(pid: int) -> None:
    """Take what a worker that ended had in hand out of the sums; what it had counted stays.

    As prometheus_client.multiprocess.mark_process_dead does.
    """
    for file in Path(os.environ.get(FOLDER, "/nowhere")).glob(f"gauge_live*_{pid}.db"):
        file.unlink(missing_ok=True)
