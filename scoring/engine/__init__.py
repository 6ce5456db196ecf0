"""The scoring engine: from the samples of a dataset to the parts of a run.

``pipeline`` is the entry point. A ``plan`` splits the dataset into chunks, a ``runner`` processes
them (alone, in several ``workers``, or on Ray in ``distributed``), ``preparation`` makes samples
ready ahead of the model, the ``scorer`` runs the two passes and ``predictions`` generates answers.
"""
