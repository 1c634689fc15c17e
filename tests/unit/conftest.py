"""What several test files use: tokenizer folders, and one gRPC server after the other."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from gateway.prompt.tokenizer import Tokenizer as PromptTokenizer


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Leave no test the logs that a command of another has set up in this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        root.handlers[:], root.level = handlers, level


@pytest.fixture(scope="session")
def llama3(llama3_folder: Path) -> PromptTokenizer:
    """The tokenizer of that folder."""
    return PromptTokenizer.load(llama3_folder)


CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content"
    " + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def chatml_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small byte-level tokenizer that knows ChatML, its control tokens of every kind.

    As in SmolLM2 they stand in the model's own vocabulary; as in Qwen some are not flagged special.
    """
    folder = tmp_path_factory.mktemp("chatml")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["the user and the assistant think about tools " * 5], trainer)
    backend.add_special_tokens([AddedToken("<|end|>", lstrip=True, rstrip=True)])
    backend.add_tokens([AddedToken("<think>"), AddedToken("<tool>", normalized=True), "    "])
    backend.save(str(folder / "tokenizer.json"))
    named = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**named, "chat_template": CHATML}))
    (folder / "generation_config.json").write_text('{"eos_token_id": 0}')
    return folder


@pytest.fixture(params=["http2", "grpc"])
def grpc_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let settings name one and then the other server of gRPC."""
    monkeypatch.setenv("GATEWAY_GRPC_SERVER", request.param)
