"""What the gateway costs beside a naive one, and beside others: one run, order rotated, medians.

python -m bench [--peers [smg dynamo]] [--repeats 5]
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench import triton
from bench.contenders import CONTENDERS, MOCK_TRITON, Contender, before, running
from bench.cost import PACE_MS, all_figures, figures_over_triton
from bench.machine import Machine
from bench.peers import PEERS
from bench.process import allow_many_connections
from bench.results import Results

MODEL_CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
OUTPUT = Path(__file__).parent / "results"


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--peers", nargs="*", choices=PEERS, help="install and measure these too; none named: all"
    )
    parser.add_argument("--only", default="", help="those whose name has this in it")
    parser.add_argument("--tokenizer", type=Path, help="Llama 3.1's, in its folder")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    allow_many_connections()
    with tempfile.TemporaryDirectory() as folder:
        names = () if options.peers is None else options.peers or PEERS
        contenders = [*CONTENDERS, *(PEERS[name](Path(folder)) for name in names)]
        contenders = [contender for contender in contenders if options.only in contender.name]
        tokenizer = options.tokenizer or llama_tokenizer(Path(folder))
        results = compare(contenders, options.repeats, tokenizer)
    print(results.to_markdown())
    results.write(options.output)


def llama_tokenizer(folder: Path) -> Path:
    """Write Llama 3.1's tokenizer below a folder; return where."""
    import llama_models.llama3

    from build_engine.tokenizer import convert

    tokenizer = folder / "llama-3.1"
    source = Path(llama_models.llama3.__file__).parent / "tokenizer.model"
    convert(source, tokenizer, "llama-3.1")
    # Where it is missing, SMG asks a hub for it again and again and waits five seconds each time.
    (tokenizer / "config.json").write_text(json.dumps(MODEL_CONFIG))
    return tokenizer


def compare(contenders: list[Contender], repeats: int, tokenizer: Path) -> Results:
    """Give every contender a fresh start in each repeat, another one first each time."""
    results = Results(Machine())
    for repeat in range(repeats):
        for contender in rotated(contenders, repeat):
            with running(contender, tokenizer) as gateway:
                results.add(contender.name, all_figures(gateway))
        if triton.can_run():
            speakers = [c for c in contenders if c.worker == MOCK_TRITON]
            compare_over_triton(rotated(speakers, repeat), tokenizer, results)
        print(f"{repeat + 1} of {repeats} repeats done", file=sys.stderr, flush=True)
    results.machine.finish()
    return results


def compare_over_triton(contenders: list[Contender], tokenizer: Path, results: Results) -> None:
    """Add what those that speak to Triton cost over a real one, the same for all."""
    with (
        tempfile.TemporaryDirectory() as folder,
        triton.simulated_triton(Path(folder), tokenizer, PACE_MS / 1000) as port,
    ):
        for contender in contenders:
            with before(contender, port, tokenizer) as gateway:
                results.add(contender.name, figures_over_triton(gateway))


def rotated(contenders: list[Contender], by: int) -> list[Contender]:
    """Return them all, another one first."""
    first = by % max(1, len(contenders))
    return contenders[first:] + contenders[:first]


if __name__ == "__main__":
    main()
