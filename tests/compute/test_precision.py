"""Precision and memory layout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from angiosynth.compute import precision
from angiosynth.compute.precision import autocast, device, place

CPU = torch.device("cpu")


def _product_type(name: str) -> torch.dtype:
    with autocast(name, CPU):
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def test_what_is_asked_for_is_used() -> None:
    assert _product_type("float32") == torch.float32
    assert _product_type("bfloat16") == torch.bfloat16


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_asks_the_hardware(monkeypatch: pytest.MonkeyPatch, native: bool, expected: torch.dtype) -> None:
    monkeypatch.setattr(precision, "bfloat16_is_native", lambda _where: native)
    assert _product_type("auto") == expected


@pytest.mark.parametrize(("amx", "avx", "expected"), [(False, False, False), (True, False, True), (False, True, True)])
def test_a_processor_with_either_unit_is_native(monkeypatch: pytest.MonkeyPatch, amx: bool, avx: bool, expected: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert precision.bfloat16_is_native(CPU) is expected
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx512_core_amx")
    assert precision.bfloat16_is_native(CPU) is expected


@pytest.mark.parametrize("limit", ["AVX2", "avx512_core"])
def test_a_processor_that_is_to_run_like_an_older_one_emulates_no_bfloat16(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert not precision.bfloat16_is_native(CPU)


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_from_ampere_on_is_native(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: bool) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _where: capability)
    assert precision.bfloat16_is_native(torch.device("cuda")) is expected


@pytest.mark.parametrize(("there", "kind"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch, there: bool, kind: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert device().type == kind


def test_weights_lie_with_channels_last_and_keep_their_values() -> None:
    layer = nn.Conv2d(4, 6, 3)
    before = layer.weight.detach().clone()
    place(layer, CPU)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(layer.weight, before)
