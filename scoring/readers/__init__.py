"""Readers: dataset files in, samples out, one at a time.

One module per record family (llava, messages, pairs) and per kind of file (json_stream, tables,
tars, tsv). ``sources`` combines them.
"""
