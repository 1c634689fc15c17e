"""What makes a build impossible. Knows nothing of how one is made."""


class BuildError(Exception):
    """The build cannot go on; the message is for the person who asked for it."""
