"""`gateway bench`: how fast an OpenAI-compatible endpoint answers, seen from outside."""
