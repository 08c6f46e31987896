"""The operations console: one page, hand-written script and style, nothing from another host."""
