"""The scoring engine: from the samples of a dataset to the parts of a run.

``pipeline`` is the way in. A ``plan`` cuts the dataset into chunks, a ``runner`` takes them through
(alone, among ``workers``, or on Ray in ``distributed``), ``preparing`` makes samples ready ahead of
the model, the ``scorer`` runs the two passes and ``predictions`` asks for answers.
"""
