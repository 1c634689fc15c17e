"""`python -m build_engine`."""

from build_engine.cli import main

main()
