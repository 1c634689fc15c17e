"""What a Triton model says it takes and gives, read from its ModelConfig. Nothing is assumed.

Names changed upstream: TensorRT-LLM 0.20 renamed `random_seed` to `seed` and `min_length` to
`min_tokens`; older deployments are served as they are.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from gateway.engine import Feature

DIGEST = re.compile("[0-9a-f]{64}")
REQUIRED_INPUTS = frozenset({"input_ids", "input_lengths", "request_output_len", "streaming"})
REQUIRED_OUTPUTS = frozenset({"output_ids", "sequence_length"})

FEATURE_INPUTS: dict[Feature, set[str]] = {
    Feature.NUM_SEQUENCES: {"num_return_sequences"},
    Feature.LOGPROBS: {"return_log_probs"},
    Feature.TOP_LOGPROBS: {"return_log_probs", "num_top_log_probs"},
    Feature.PROMPT_LOGPROBS: {"return_log_probs", "num_prompt_log_probs"},
    Feature.LOGIT_BIAS: {"embedding_bias"},
    Feature.GUIDED_DECODING: {"guided_decoding_guide_type", "guided_decoding_guide"},
    Feature.REPETITION_PENALTY: {"repetition_penalty"},
    Feature.STOP_TOKEN_IDS: {"stop_words_list"},
    Feature.BAD_WORDS: {"bad_words_list"},
    Feature.LORA: {"lora_task_id", "lora_weights", "lora_config"},
}
FEATURE_OUTPUTS = {
    Feature.NUM_SEQUENCES: {"sequence_index"},
    Feature.LOGPROBS: {"output_log_probs"},
    Feature.TOP_LOGPROBS: {"output_log_probs", "top_log_prob_ids", "top_log_probs"},
    Feature.PROMPT_LOGPROBS: {
        "prompt_log_probs",
        "prompt_top_log_prob_ids",
        "prompt_top_log_probs",
    },
}


class ContractMismatch(Exception):
    """The model behind this name does not speak the contract the gateway needs."""


class AnyContract(Protocol):
    """What the models of all engines say of themselves."""

    @property
    def features(self) -> frozenset[Feature]: ...

    @property
    def max_model_len(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Contract:
    """The tensors of one `tensorrt_llm` model, and what follows from them.

    Source: inflight_batcher_llm/tensorrt_llm/config.pbtxt of TensorRT-LLM's triton_backend.
    """

    model: str
    inputs: frozenset[str]
    outputs: frozenset[str]
    parameters: dict[str, str]
    vocab_size: int
    max_model_len: int

    @property
    def seed(self) -> str:
        """The tensor that carries the seed, UINT64[1, 1]."""
        return self._one_of("seed", "random_seed")

    @property
    def min_tokens(self) -> str:
        """The tensor that carries the minimum number of tokens, INT32[1, 1]."""
        return self._one_of("min_tokens", "min_length")

    @property
    def perf_metrics(self) -> str:
        """The tensor that asks for the KV blocks reused, BOOL[1, 1]; 0.19 gave it its name."""
        return self._one_of("return_perf_metrics", "return_kv_cache_reuse_stats")

    @property
    def finds_adapters(self) -> bool:
        """Whether adapters are loaded by the engine, from the path that comes with a request."""
        return "lora_path" in self.inputs

    @property
    def tokens_per_block(self) -> int:
        """Tokens in one block of the paged KV cache; 32 is what TensorRT-LLM builds by default."""
        value = self.parameters.get("tokens_per_block", "")
        return int(value) if value.isdigit() else 32

    @property
    def tokenizer_sha256(self) -> str:
        """The digest of tokenizer.json, where `build-engine repository` wrote it down."""
        return self.parameters.get("tokenizer_sha256", "")

    @property
    def features(self) -> frozenset[Feature]:
        found = {
            feature
            for feature, names in FEATURE_INPUTS.items()
            if names <= self.inputs and FEATURE_OUTPUTS.get(feature, set()) <= self.outputs
        }
        if not self._can_guide:
            found.discard(Feature.GUIDED_DECODING)
        return frozenset(found | {Feature.TOKEN_IDS, Feature.MIN_TOKENS})

    @property
    def _can_guide(self) -> bool:
        """The tensors are declared in every deployment; the backend behind them may be left out."""
        return not self.parameters.get("guided_decoding_backend", "xgrammar").startswith("${")

    def _one_of(self, name: str, older: str) -> str:
        return name if name in self.inputs else older


def tells_other_tokenizer(one: AnyContract | None, other: AnyContract) -> bool:
    """Tell whether two models say that their tokenizers differ; most say nothing of it."""
    told = {
        digest
        for each in (one, other)
        if isinstance(each, Contract) and DIGEST.fullmatch(digest := each.tokenizer_sha256)
    }
    return len(told) == 2


def read_contract(config: Any, vocab_size: int, max_model_len: int | None = None) -> Contract:
    """Return the contract in an `inference.ModelConfig` message; see `read_max_model_len`.

    Raises ContractMismatch naming the tensor or setting that is missing.
    """
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    contract = Contract(
        model=config.name,
        inputs=frozenset(tensor.name for tensor in config.input),
        outputs=frozenset(tensor.name for tensor in config.output),
        parameters=parameters,
        vocab_size=vocab_size,
        max_model_len=0,
    )
    for problem in _problems(contract, config):
        raise ContractMismatch(f"Triton's model {config.name!r} {problem}")
    limit = read_max_model_len(config.name, parameters, max_model_len)
    return replace(contract, max_model_len=limit)


def read_max_model_len(model: str, parameters: Mapping[str, str], configured: int | None) -> int:
    """Return a model's context in tokens: what is configured, or else what it publishes.

    More than it publishes would be a promise that its engine breaks: answers that the engine cuts
    would be taken for finished. Raises ContractMismatch for that, and where neither is known.
    """
    told = parameters.get("max_seq_len", "")
    published = int(told) if told.isdecimal() else 0
    if configured and published and configured > published:
        raise ContractMismatch(
            f"Triton's model {model!r} has a context of {published} tokens (max_seq_len), less "
            f"than the max_model_len of {configured} that is configured for it: lower that, or "
            "leave it out"
        )
    if not (configured or published):
        raise ContractMismatch(
            f"Triton's model {model!r} does not publish its context length (max_seq_len): set "
            "max_model_len for it"
        )
    return configured or published


def _problems(contract: Contract, config: Any) -> Iterator[str]:
    for name in sorted(REQUIRED_INPUTS - contract.inputs):
        yield f"has no input tensor {name!r}: it is not a tensorrt_llm model"
    for name in sorted(REQUIRED_OUTPUTS - contract.outputs):
        yield f"has no output tensor {name!r}: it is not a tensorrt_llm model"
    if not config.model_transaction_policy.decoupled:
        yield "is not decoupled, so it cannot stream: deploy it with decoupled_mode:true"
    if config.max_batch_size < 1:
        yield "takes no batches (max_batch_size 0): deploy it with triton_max_batch_size 1 or more"
