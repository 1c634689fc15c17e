"""The machine: its limits, its clock, its ports, the environment's settings."""

import difflib
import os
import platform
import resource
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import gateway
from gateway.doctor.finding import Finding, fine, odd, wrong
from gateway.embedded.platform import Platform, PlatformUnsupported, check_platform
from gateway.server import free_port
from gateway.settings import Settings, SettingsError

KEPT_FILES = 64
"""Files that a process has open beside its connections."""
DAY_S = 86_400.0
PREFIX = "GATEWAY_"
# Read by parts that are no part of a serving gateway.
OTHERS = frozenset({"GATEWAY_CLIENTS_CACHE", "GATEWAY_PICTURES"})


def examine_machine(settings: Settings) -> Iterator[Finding]:
    """Yield what is found of the machine, but for its ports."""
    yield fine("machine", f"{platform.system()} on {platform.machine()}, {_python()}, {_size()}")
    yield open_files(settings)
    yield clock(Path(gateway.__file__).parent, time.time())
    yield embedded()


def open_files(settings: Settings) -> Finding:
    """Look whether as many files may be open as connections may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + settings.grpc_max_connections + KEPT_FILES
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return fine("open files", f"{hard:,} allowed, {wanted:,} at most needed")
    return odd(
        "open files",
        f"{hard:,} allowed, but connections may take {wanted:,}: those beyond are refused",
        f"ulimit -Hn {wanted} as root, LimitNOFILE={wanted} in a systemd unit, or a lower "
        "GATEWAY_MAX_CONNECTIONS",
    )


def clock(installed: Path, now: float) -> Finding:
    """Look whether the clock is before this program's own files: it cannot be."""
    newest = max(path.stat().st_mtime for path in installed.glob("*.py"))
    if newest <= now + DAY_S:
        return fine("clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))
    days = (newest - now) / DAY_S
    return wrong(
        "clock",
        f"it stands {days:,.0f} days before this program was written: certificates will not be "
        "valid yet, and times in logs are wrong",
        "timedatectl set-ntp true",
    )


def embedded() -> Finding:
    """Look whether `gateway up` can run a Triton here; `gateway serve` needs none."""
    try:
        check_platform(Platform.detect())
    except PlatformUnsupported as error:
        problems = [line[4:] for line in str(error).splitlines() if line.startswith("  - ")]
        return odd("gateway up", "; ".join(problems), "use `gateway serve`, or a container")
    return fine("gateway up", "its tritonserver can run here")


def examine_ports(settings: Settings) -> Iterator[Finding]:
    """Yield whether the two ports can be had."""
    yield _port("HTTP port", "--http-port", settings.host, settings.port)
    yield _port("gRPC port", "--grpc-port", settings.grpc_host, settings.grpc_port)


def _port(place: str, option: str, host: str, port: int) -> Finding:
    try:
        free_port(host, port)
    except SettingsError as error:
        version = _gateway_at(host, port)
        if version and option == "--http-port":
            return odd(place, f"{port}: a gateway serves there, {version}", f"{option} another")
        return wrong(place, str(error), f"gateway serve {option} {port + 1}, or end what has it")
    return fine(place, f"{host}:{port} is free")


def _gateway_at(host: str, port: int) -> str:
    """Return the version of the gateway that listens there, if it is one."""
    connection = HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/version")
        said = connection.getresponse().read(1000).decode(errors="replace")
        return said if said.startswith('{"version"') else ""
    except (OSError, HTTPException):
        return ""
    finally:
        connection.close()


def examine_environment(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the variables that look like settings and are none."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    strange = sorted(
        name for name in environment.keys() - known - OTHERS if name.startswith(PREFIX)
    )
    for name in strange:
        close = difflib.get_close_matches(name, known, 1)
        meant = f"unset it, or is {close[0]} meant?" if close else "see docs/settings.md"
        yield odd("environment", f"{name} is no setting and is ignored", meant)


def _python() -> str:
    return f"Python {platform.python_version()}"


def _size() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.1f} GiB"
