"""Is freed memory kept at hand where the C library can?"""

import platform

from p2sp.storage.malloc import keep_freed


def test_glibc_takes_the_thresholds() -> None:
    assert keep_freed() == (platform.libc_ver()[0] == "glibc")
