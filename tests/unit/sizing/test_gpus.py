"""GPUs: found by the catalog's name and by nvidia-smi's; unknown kinds are built from what nvidia-smi says."""

import pytest

from fleet.errors import CatalogError
from fleet.sizing.gpus import from_line, from_smi, gpu, gpus


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("T4", "T4"),
        ("Tesla T4", "T4"),
        ("nvidia a10", "A10"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB"),
        ("NVIDIA H100 80GB HBM3", "H100-80GB"),
        ("H100-80GB", "H100-80GB"),
        ("L20", "L20"),
        ("A800", "A800-80GB"),
        ("rtx 4090", "RTX-4090"),
    ],
)
def test_a_kind_is_found_by_any_of_its_names(asked: str, name: str) -> None:
    assert gpu(asked).name == name


def test_a_name_that_means_several_says_which() -> None:
    with pytest.raises(CatalogError) as caught:
        gpu("A100")
    assert "A100-40GB, A100-80GB" in caught.value.hint


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(CatalogError) as caught:
        gpu("A1000")
    assert "A10" in caught.value.hint


def test_torch_never_sees_more_than_nvidia_smi() -> None:
    for kind in gpus():
        assert 0.95 < kind.total_gib / (kind.memory_mib / 1024) < 1.0, kind.name


def test_there_are_28_kinds_and_the_china_market_ones_among_them() -> None:
    assert len(gpus()) >= 28
    assert {"A800-80GB", "H800-80GB", "H20", "L20", "RTX-4090-D"} <= {kind.name for kind in gpus()}


def test_an_unknown_kind_is_built_from_nvidia_smi() -> None:
    kind = from_smi("NVIDIA X9000", 98304, "12.1")
    assert (kind.known, kind.sm, kind.capability) == (False, 121, (12, 1))
    assert 94 < kind.total_gib < 96


def test_a_line_of_nvidia_smi_is_enough() -> None:
    assert from_line("NVIDIA A10, 23028 MiB, 8.6").name == "A10"
    assert from_line("NVIDIA RTX PRO 6000, 97887 MiB, 12.0").sm == 120
    with pytest.raises(CatalogError, match="no line"):
        from_line("NVIDIA A10, 23028")


def test_a_known_kind_with_another_memory_keeps_what_the_host_says() -> None:
    slice_of_a_gpu = from_smi("NVIDIA A100-SXM4-40GB", 20096, "8.0")
    assert slice_of_a_gpu.total_gib < 20
    assert from_smi("NVIDIA A100-SXM4-40GB", 40960, "8.0").known


def test_a_capability_that_is_no_number_is_refused() -> None:
    with pytest.raises(CatalogError, match="compute capability"):
        from_smi("NVIDIA A10", 23028, "[N/A]")
