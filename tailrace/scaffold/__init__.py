"""Makes a pipeline from a table: reads a sample of it, proposes a spec, and writes the files.

`samples` reads, `requests` is what a person said, `proposal` what follows from it and the rows, `files` the text of the
files, and `writing` puts all of them in their places, or none.
"""
