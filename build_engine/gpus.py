"""GPUs: memory, bandwidth, compute capability. Plans nothing."""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from build_engine.errors import BuildError

_FIELDS = "name,memory.total,compute_cap"
# CUDA reports less than nvidia-smi: 139.80 of 140.40 GiB on an H200, 79.10 of 79.65 on an H100.
_CUDA_SHARE = 0.995


@dataclass(frozen=True)
class Gpu:
    """One card. `memory_gib` is what CUDA reports, not what the box says; `bandwidth_gbs` is 0
    where it is not known."""

    memory_gib: float
    bandwidth_gbs: float
    compute_capability: tuple[int, int]

    @property
    def memory_bytes(self) -> int:
        """Memory that a process can see."""
        return int(self.memory_gib * 2**30)


# Bandwidth and compute capability: NVIDIA's data sheets. Memory: totals that CUDA reported in
# public logs where there are any (a100-40g, h100-80g, rtx-5090), else the driver's MiB.
GPUS: Mapping[str, Gpu] = {
    "t4": Gpu(14.7, 320, (7, 5)),
    "a10g-24g": Gpu(22.1, 600, (8, 6)),
    "a100-40g": Gpu(39.5, 1555, (8, 0)),
    "a100-80g": Gpu(79.1, 2039, (8, 0)),
    "l4-24g": Gpu(22.1, 300, (8, 9)),
    "l40s-48g": Gpu(44.4, 864, (8, 9)),
    "rtx-4090": Gpu(23.6, 1008, (8, 9)),
    "h100-80g": Gpu(79.1, 3350, (9, 0)),
    "h100-pcie-80g": Gpu(79.1, 2000, (9, 0)),
    "h200-141g": Gpu(139.8, 4800, (9, 0)),
    "b200-180g": Gpu(178.3, 7700, (10, 0)),
    "rtx-5090": Gpu(31.8, 1792, (12, 0)),
}
# How nvidia-smi's names begin, the more particular first.
_PRODUCTS = (
    ("NVIDIA H100 PCIe", "h100-pcie-80g"),
    ("NVIDIA H100", "h100-80g"),
    ("NVIDIA H200", "h200-141g"),
    ("NVIDIA B200", "b200-180g"),
    ("NVIDIA A100-SXM4-80GB", "a100-80g"),
    ("NVIDIA A100 80GB", "a100-80g"),
    ("NVIDIA A100", "a100-40g"),
    ("NVIDIA A10G", "a10g-24g"),
    ("NVIDIA L40S", "l40s-48g"),
    ("NVIDIA L4", "l4-24g"),
    ("NVIDIA GeForce RTX 4090", "rtx-4090"),
    ("NVIDIA GeForce RTX 5090", "rtx-5090"),
    ("Tesla T4", "t4"),
)


def gpu_named(name: str) -> Gpu:
    """Return a GPU by its name here; raises BuildError where there is none."""
    try:
        return GPUS[name]
    except KeyError:
        raise BuildError(f"gpu: {name!r} is none of {', '.join(GPUS)}") from None


def detect() -> tuple[str, Gpu]:
    """Return name and facts of this machine's first GPU; raises BuildError where there is none."""
    if shutil.which("nvidia-smi") is None:
        raise BuildError("gpu: no nvidia-smi here, so nothing to detect; name one with --gpu")
    query = ["nvidia-smi", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    if answer.returncode != 0 or not answer.stdout.strip():
        raise BuildError(f"gpu: nvidia-smi said {(answer.stderr or answer.stdout).strip()!r}")
    return parse_nvidia_smi(answer.stdout.splitlines()[0])


def parse_nvidia_smi(line: str) -> tuple[str, Gpu]:
    """Return name and facts of a GPU from one line of nvidia-smi's CSV (see `_FIELDS`)."""
    product, memory_mib, capability = (field.strip() for field in line.split(","))
    major, minor = capability.split(".")
    known = next((name for start, name in _PRODUCTS if _begins(product, start)), None)
    bandwidth = GPUS[known].bandwidth_gbs if known else 0.0
    gpu = Gpu(_CUDA_SHARE * float(memory_mib) / 1024, bandwidth, (int(major), int(minor)))
    return known or product, gpu


def _begins(product: str, start: str) -> bool:
    """Compare whole words: an L40 is no L4."""
    return product == start or product.startswith((f"{start} ", f"{start}-"))
