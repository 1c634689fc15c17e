"""A real tritonserver with the simulated engine, at the pace of a GPU. Measures nothing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.process import free_port
from build_engine.repository import RepositorySpec, build
from gateway.embedded.platform import Platform, PlatformUnsupported, check_platform
from gateway.embedded.tritonserver import Ports, TritonServer


@contextmanager
def simulated_triton(folder: Path, tokenizer: Path, pace_s: float) -> Iterator[int]:
    """Run a server below a folder that gives every stream a token each `pace_s`; yield its port."""
    script = folder / "script.json"
    answer = {"contains": "", "answer": "", "end": "limit"}
    script.write_text(json.dumps({"answers": [answer], "cost": {"step_s": pace_s}}))
    spec = RepositorySpec("simulated", folder / "repository", tokenizer=tokenizer, script=script)
    repository = build(spec)
    port = free_port()
    log = folder / "triton.log"
    with TritonServer(repository.path, log_file=log, ports=Ports(grpc=port)) as server:
        server.wait_ready(60)
        yield port


def can_run() -> bool:
    """Whether this machine can run a tritonserver from PyPI."""
    try:
        check_platform(Platform.detect())
    except PlatformUnsupported:
        return False
    return True
