"""Why a benchmark cannot start. What fails while it runs is counted, not raised."""


class BenchError(Exception):
    """Says what is wrong and what to do next."""
