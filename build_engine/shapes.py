"""The published shapes of Llama models: what their config.json says. Knows no engine and no GPU."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ShapeName = Literal[
    "llama-3-8b",
    "llama-3-70b",
    "llama-3.1-8b",
    "llama-3.1-70b",
    "llama-3.1-405b",
    "llama-3.2-1b",
    "llama-3.2-3b",
    "llama-3.3-70b",
]


@dataclass(frozen=True)
class Shape:
    """Sizes of one model; `template` is the chat format it was trained on."""

    num_layers: int
    hidden: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    max_positions: int
    ties_embeddings: bool = False
    template: str = ""

    @property
    def layer_weights(self) -> int:
        """Matrix weights of one decoder layer: q, k, v, o, gate, up, down."""
        attention = 2 * self.num_heads + 2 * self.num_kv_heads
        return self.hidden * (attention * self.head_dim + 3 * self.intermediate)

    @property
    def embedding_weights(self) -> int:
        """Weights of the embedding table, and as many again of lm_head."""
        return self.vocab * self.hidden

    @property
    def num_params(self) -> int:
        """Parameters as model cards count them: tied embeddings once."""
        tables = 1 if self.ties_embeddings else 2
        norms = (2 * self.num_layers + 1) * self.hidden
        return self.num_layers * self.layer_weights + tables * self.embedding_weights + norms


def _shape_8b(max_positions: int, template: str) -> Shape:
    return Shape(32, 4096, 32, 8, 128, 14336, 128256, max_positions, template=template)


def _shape_70b(max_positions: int, template: str) -> Shape:
    return Shape(80, 8192, 64, 8, 128, 28672, 128256, max_positions, template=template)


# Each model's config.json on the Hugging Face hub.
SHAPES: Mapping[ShapeName, Shape] = {
    "llama-3-8b": _shape_8b(8192, "llama-3"),
    "llama-3-70b": _shape_70b(8192, "llama-3"),
    "llama-3.1-8b": _shape_8b(131072, "llama-3.1"),
    "llama-3.1-70b": _shape_70b(131072, "llama-3.1"),
    "llama-3.1-405b": Shape(126, 16384, 128, 8, 128, 53248, 128256, 131072, template="llama-3.1"),
    "llama-3.2-1b": Shape(16, 2048, 32, 8, 64, 8192, 128256, 131072, True, "llama-3.2"),
    "llama-3.2-3b": Shape(28, 3072, 24, 8, 128, 8192, 128256, 131072, True, "llama-3.2"),
    "llama-3.3-70b": _shape_70b(131072, "llama-3.3"),
}
