"""How long prompts and answers are, noted request by request, for `build-engine tune` to read."""

from pathlib import Path

import orjson


class LengthTrace:
    """A file of lengths: a JSON line a request, with no word of what was said."""

    def __init__(self, path: Path) -> None:
        """Raise OSError where the file cannot be written."""
        self._file = path.open("ab", buffering=0)

    def note(self, arrival_s: float, prompt_tokens: int, completion_tokens: int) -> None:
        """Add a request. `arrival_s` is in Unix seconds."""
        line = {
            "arrival_s": round(arrival_s, 3),
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
        }
        self._file.write(orjson.dumps(line) + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
