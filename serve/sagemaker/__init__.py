"""An artifact to a SageMaker endpoint and back to nothing: ``python -m serve.sagemaker``.

Requests are values first (``requests``, ``watch``); ``rollout`` and ``cleanup`` send them.
"""
