"""A text completion on OpenAI's wire: one or several prompts, as chunks or one whole answer."""
