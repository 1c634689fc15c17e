"""What the embedded Triton demands of a machine."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.embedded.platform import Platform, PlatformUnsupported, check_platform

GOOD = Platform(
    system="Linux",
    machine="x86_64",
    glibc=(2, 36),
    python=(3, 11),
    numpy="1.26.4",
    libpython=Path("/usr/lib/libpython3.11.so.1.0"),
    tritonserver=Path("/site-packages/pytriton/tritonserver"),
    stub=Path("/stubs/3.11/triton_python_backend_stub"),
)


def test_a_machine_with_everything_is_accepted() -> None:
    check_platform(GOOD)


@pytest.mark.parametrize("glibc", [(2, 35), (2, 39), (3, 0)], ids=str)
def test_a_glibc_new_enough_is_accepted(glibc: tuple[int, int]) -> None:
    check_platform(replace(GOOD, glibc=glibc))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (replace(GOOD, system="Darwin"), "needs Linux on x86-64; this is Darwin on x86_64"),
        (replace(GOOD, machine="aarch64"), "this is Linux on aarch64"),
        (replace(GOOD, glibc=(2, 34)), "glibc >= 2.35; this system has 2.34"),
        (replace(GOOD, glibc=None), "another C library"),
        (replace(GOOD, python=(3, 13)), "this is Python 3.13"),
        (replace(GOOD, tritonserver=None), "wheel is not installed"),
        (replace(GOOD, stub=None), "no python-backend stub for Python 3.11"),
        (replace(GOOD, numpy="2.3.1"), "found: 2.3.1"),
        (replace(GOOD, numpy=None), "found: none"),
        (replace(GOOD, libpython=None), "apt-get install libpython3.11"),
    ],
    ids=[
        "another system",
        "another processor",
        "old glibc",
        "musl",
        "new Python",
        "no wheel",
        "no stub",
        "numpy 2",
        "no numpy",
        "no libpython",
    ],
)
def test_what_is_missing_is_named_with_what_to_do_instead(facts: Platform, said: str) -> None:
    with pytest.raises(PlatformUnsupported) as refusal:
        check_platform(facts)

    assert said in str(refusal.value)
    assert "gateway serve --triton HOST:PORT --tokenizer DIR" in str(refusal.value)
    assert "docker compose up" in str(refusal.value)


def test_everything_that_is_missing_is_named_at_once() -> None:
    facts = replace(GOOD, numpy="2.0.0", libpython=None)

    with pytest.raises(PlatformUnsupported, match=r"(?s)numpy < 2.*libpython3\.11"):
        check_platform(facts)


def test_a_hopeless_machine_is_not_told_to_install_packages() -> None:
    facts = replace(GOOD, machine="aarch64", tritonserver=None, numpy=None)

    with pytest.raises(PlatformUnsupported) as refusal:
        check_platform(facts)

    assert "pip install" not in str(refusal.value)
