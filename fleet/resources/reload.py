"""After systemd has read its units again: whether the containers of ours still have their GPUs."""

from __future__ import annotations

from typing import Final

#: With the hook and systemd's cgroups, a daemon-reload takes the GPUs from running containers: "Failed to initialize
#: NVML: Unknown Error" (NVIDIA's container toolkit, troubleshooting; NVIDIA/nvidia-docker#1730). CDI and cgroupfs are
#: safe. Sh that fails with the names of the containers that lost them; one without nvidia-smi counts as well.
STILL_GPUS: Final = """lost=
for c in $(timeout 20 docker ps --quiet --filter label=fleet.instance 2>/dev/null); do
  timeout 30 docker exec "$c" sh -c 'command -v nvidia-smi >/dev/null || exit 0; nvidia-smi -L >/dev/null 2>&1' ||
    lost="$lost $(docker inspect --format '{{.Name}}' "$c" | tr -d /)"
done
[ -z "$lost" ] || { echo "after systemctl daemon-reload no GPU is seen any more in:$lost. They must be" \\
  "restarted, and this host wants CDI or cgroupfs (runtime.gpu_access)" >&2; exit 1; }"""
