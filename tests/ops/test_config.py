"""Does a configuration file load, and does one that does not say where it is wrong?"""

from pathlib import Path

import msgspec
import pytest

from p2sp.ops.config import (
    LARGEST_FILE,
    Base,
    ConfigError,
    load_config,
    parse_duration,
    parse_rate,
    parse_size,
    resolve,
)


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rate: int = 5
    names: list[str] = []


class Shop(Base, kw_only=True, frozen=True, forbid_unknown_fields=True):
    limits: Limits = Limits()
    title: str = "none"


GOOD = 'listen = "127.0.0.1:1"\nidentity = "i.pem"\nauthority = "ca.pem"\nstate = "."\n'


def load(folder: Path, text: str | bytes) -> Shop:
    path = folder / "shop.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(path, Shop)


def test_values_and_defaults(tmp_path: Path) -> None:
    shop = load(tmp_path, GOOD + 'title = "ü"\n[limits]\nrate = 7\n')
    assert (shop.listen, shop.title, shop.limits) == ("127.0.0.1:1", "ü", Limits(7))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "listn = 1", "$.listn is not a setting"),
        (GOOD + "[limits]\nrat = 1", "$.limits.rat is not a setting"),
        (GOOD + "[limits]\nrate = 'x'", "$.limits.rate: expected `int`, got `str`"),
        (GOOD + "[limits]\nnames = ['a', 5]", "$.limits.names[1]: expected `str`, got `int`"),
        (GOOD + "limits = 5", "$.limits: expected `object`, got `int`"),
        (GOOD.replace('state = "."', ""), "$.state is required"),
        ("", "$.listen is required"),
        ("x", "is not TOML"),
        (b"a = '\xff'", "is not TOML"),
        ("#" * (LARGEST_FILE + 1), "is larger than"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'shop.toml'}: {message}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: No such file"):
        load_config(tmp_path / "gone.toml", Shop)
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path, Shop)


def test_paths_start_at_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "etc" / "shop.toml"
    assert resolve(config, "keys/i.pem") == tmp_path / "etc" / "keys" / "i.pem"
    assert resolve(config, "/var/x") == Path("/var/x")
    monkeypatch.chdir(tmp_path)
    assert resolve(Path("shop.toml"), "i.pem") == tmp_path / "i.pem"
    monkeypatch.setenv("HOME", "/home/somebody")
    assert resolve(config, "~/i.pem") == Path("/home/somebody/i.pem")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64 MiB", 64 * 1024**2),
        ("2MB", 2_000_000),
        ("2m", 2_000_000),
        ("500K", 500_000),
        ("1.5 GiB", 1_610_612_736),
        (" 7 ", 7),
        ("0", 0),
        (4096, 4096),
        ("3 TiB", 3 * 1024**4),
        ("123456789012345678", 123456789012345678),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5min", 300),
        ("5m", 300),
        ("2h", 7200),
        ("7d", 604_800),
        ("1w", 604_800),
        ("1.5", 1.5),
        (3, 3),
        (0.5, 0.5),
    ],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "rate"),
    [("2MB/s", 2_000_000), ("500K", 500_000), ("1 MiB / s", 1024**2), ("64 KiB/sec", 65_536), (9, 9)],
)
def test_rates(text: str | int, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "x", "-1", "5 parsecs", "1e9", "1.", "٣", "1 2", "nan", "9" * 30])
def test_what_is_no_quantity_is_named(text: str) -> None:
    for parse in (parse_size, parse_duration, parse_rate):
        with pytest.raises(ValueError, match=r"is not a .* such as") as caught:
            parse(text)
        assert repr(text) in str(caught.value)


def test_a_duration_is_no_size() -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size("5min")
    with pytest.raises(ValueError, match="duration"):
        parse_duration("5MB")
