"""Values that are never shown: which fields they are in, what stands for them, and back.

`Mask` hides them, `_patterns` says which fields a pattern means, `_unmask` puts them back into what
was edited, and `_shown` has what a command prints of bytes and error texts.
"""
