"""What callers bind answers to, understood once and given to engines as guides."""
