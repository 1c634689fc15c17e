"""What an engine takes of a GPU's memory, from its spec. Pure arithmetic; prints nothing.

All sizes are bytes on the GPU that carries most, which is the one with the embedding table.
"""

from dataclasses import dataclass

from build_engine.outcome import built_limits
from build_engine.shapes import Shape
from build_engine.spec import EngineSpec, Limits, Parallel, Quantized

_DTYPE_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}
_GROUP_NVFP4 = 16
# trtllm-bench's published log of Llama 2 7B (NVIDIA/TensorRT-LLM, 0.12: 4096 sequences, 32,000
# tokens of vocabulary) allocates 1.14 GiB for runtime buffers and 4.35 GiB for the decoder, both
# of them proportional to the product.
_SAMPLING_BYTES = 5.49 * 2**30 / (4096 * 32000)
# CUDA context, cuBLAS, NCCL: what the same logs leave unexplained at small batches.
_CONTEXT_BYTES = 0.75 * 2**30


def weights_bytes(shape: Shape, dtype: str, quantization: Quantized, parallel: Parallel) -> float:
    """Return the size of one rank's engine.

    Linear layers are stored as quantized and spread over all ranks; embedding table and lm_head
    stay in `dtype`, the table whole on every rank (convert_checkpoint's default), lm_head split by
    tensor parallelism. Engines repeat tied embeddings.
    """
    wide = _DTYPE_BYTES[dtype]
    layers = shape.num_layers * shape.layer_weights * weight_bytes(dtype, quantization)
    norms = (2 * shape.num_layers + 1) * shape.hidden * wide
    tables = shape.embedding_weights * wide * (1 + 1 / parallel.tensor)
    return layers / parallel.world_size + tables + norms / parallel.pipeline


def weight_bytes(dtype: str, quantization: Quantized) -> float:
    """Return bytes per weight of a linear layer, scales included: one of 16 bits per AWQ group,
    one of 8 bits per 16 weights for NVFP4; the others have one per matrix or channel."""
    by_kind = {
        "none": float(_DTYPE_BYTES[dtype]),
        "fp8": 1.0,
        "int8_sq": 1.0,
        "int4_awq": 0.5 + 2 / quantization.awq_block_size,
        "w4a8_awq": 0.5 + 2 / quantization.awq_block_size,
        "nvfp4": 0.5 + 1 / _GROUP_NVFP4,
    }
    return by_kind[quantization.weights]


def kv_bytes_per_token(
    shape: Shape, dtype: str, quantization: Quantized, parallel: Parallel
) -> float:
    """Return 2 (key, value) x layers x KV heads x head size x bytes, for one rank's share; where
    there are more ranks than KV heads, each rank keeps one (layers/attention.py repeats them)."""
    wide = _DTYPE_BYTES[dtype] if quantization.kv_cache == "auto" else 1
    heads = max(1, shape.num_kv_heads / parallel.tensor)
    return 2 * shape.num_layers / parallel.pipeline * heads * shape.head_dim * wide


def activation_bytes(
    shape: Shape, dtype: str, limits: Limits, parallel: Parallel, num_tokens: int | None = None
) -> float:
    """Return the execution context's memory, an estimate.

    TensorRT reuses it from layer to layer, so the widest point counts: residual and normed input
    of the MLP, gate and up projections, and their product, for max_num_tokens (`num_tokens`, where
    the engine has others); and the logits of every sequence
    (docs/source/reference/memory.md of TensorRT-LLM says which sizes it follows).
    """
    wide = _DTYPE_BYTES[dtype]
    per_token = 2 * shape.hidden + 3 * shape.intermediate / parallel.tensor
    logits = limits.max_batch_size * limits.max_beam_width * shape.vocab / parallel.tensor
    return wide * ((num_tokens or limits.max_num_tokens) * per_token + logits)


def sampling_bytes(shape: Shape, limits: Limits) -> float:
    """Return what runtime and decoder hold per sequence and word of the vocabulary."""
    return _SAMPLING_BYTES * limits.max_batch_size * limits.max_beam_width * shape.vocab


@dataclass(frozen=True)
class Memory:
    """One GPU's memory, by what takes it. `kv_cache` is the pool at the spec's fraction."""

    total: float
    weights: float
    activations: float
    sampling: float
    context: float
    kv_per_token: float
    kv_fraction: float
    tokens_per_block: int

    @property
    def free(self) -> float:
        """What is left once the engine is loaded; negative where it does not load."""
        return self.total - self.weights - self.activations - self.sampling - self.context

    @property
    def kv_cache(self) -> float:
        """The pool of KV blocks."""
        return max(0.0, self.free * self.kv_fraction)

    @property
    def kv_tokens(self) -> int:
        """Tokens that the pool holds, in whole blocks."""
        block = self.tokens_per_block
        return int(self.kv_cache / self.kv_per_token) // block * block


def memory_of(spec: EngineSpec, gpu_bytes: int) -> Memory:
    """Return how a spec divides a GPU of so many bytes."""
    shape, dtype, parallel = spec.shape, spec.dtype, spec.parallel
    return Memory(
        total=gpu_bytes,
        weights=weights_bytes(shape, dtype, spec.quantization, parallel),
        activations=activation_bytes(
            shape, dtype, spec.limits, parallel, built_limits(spec).max_num_tokens
        ),
        sampling=sampling_bytes(shape, spec.limits),
        context=_CONTEXT_BYTES,
        kv_per_token=kv_bytes_per_token(shape, dtype, spec.quantization, parallel),
        kv_fraction=spec.serving.kv_cache_fraction,
        tokens_per_block=spec.release.tokens_per_block,
    )


def checkpoint_bytes(spec: EngineSpec) -> int:
    """Return the size of all ranks together, on disk: of a checkpoint, and of its engine."""
    one = weights_bytes(spec.shape, spec.dtype, spec.quantization, spec.parallel)
    return int(one * spec.parallel.world_size)


def download_bytes(spec: EngineSpec) -> int:
    """Return the size of the published weights, 16 bits each unless they are quantized already."""
    return checkpoint_bytes(spec) if spec.quantization.published else 2 * spec.shape.num_params
