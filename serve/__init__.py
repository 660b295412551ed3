"""An artifact to answers: over HTTP, in batches, on SageMaker."""
