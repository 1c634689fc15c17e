"""Folders that several test files read."""

from pathlib import Path

import llama_models.llama3
import pytest

from build_engine.tokenizer import convert

META_TOKENIZER = Path(llama_models.llama3.__file__).parent / "tokenizer.model"


@pytest.fixture(scope="session")
def llama3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer folder as Llama 3.1 has it: 128,256 tokens, 256 of them special."""
    folder = tmp_path_factory.mktemp("llama-3.1")
    convert(META_TOKENIZER, folder, "llama-3.1")
    return folder
