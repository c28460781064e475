"""What a host must be: one module a role, and, once, the order in which they build on each other."""

from __future__ import annotations

from fleet.survey import Role
from roles import container_runtime, gateway, host_baseline, model_weights, nvidia_driver, vllm_image, vllm_service

ROLES: tuple[Role, ...] = (
    host_baseline,
    nvidia_driver,
    container_runtime,
    vllm_image,
    model_weights,
    vllm_service,
    gateway,
)
