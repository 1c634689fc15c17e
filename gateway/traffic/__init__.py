"""Who may ask for how much: sizes, and the lanes in which what takes long is done."""
