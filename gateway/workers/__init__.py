"""Several processes that serve on the same ports, and their parent. Knows not what they serve."""
