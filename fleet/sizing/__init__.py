"""What runs where: pure judgement over a catalog of GPUs, models and vLLM versions."""
