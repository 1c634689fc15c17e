"""`gateway doctor`: looks at all that serving needs, and says what is wrong and what to type."""
