"""What is in a table before there is a spec: its columns, their association with a label, and what a spec could say.

Everything here reads Arrow tables, samples of marts. `columns` and `weeks` describe, `associations` and `leaks` compare
with a label, `questions`, `features` and `windows` propose parts of a spec, `suites` writes expectations, `page` draws.
"""
