"""Depth for many photos, restartable: ``python -m serve.batch``.

listing -> plan -> engine -> records: one result or one reason for each input, whatever dies on the
way. All that a job knows of itself lies below ``_job/`` in its output.
"""
