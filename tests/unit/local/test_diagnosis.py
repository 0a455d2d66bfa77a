from pathlib import Path

import pytest

from vaultstream.local.diagnosis import explain_failure, free_bytes

pytestmark = pytest.mark.unit

GIB = 1024**3


def error(log: str, free: int = GIB) -> tuple[str, str]:
    found = explain_failure(
        "NATS", log, data_dir=Path("/data"), free_bytes=free, log_file=Path("/data/nats.log")
    )
    return found.message, found.hint or ""


def test_a_full_disk_is_named_with_the_directory_to_free_space_for() -> None:
    message, hint = error("FATAL: could not write lock file: No space left on device")
    assert "disk of /data is full" in message
    assert "Free some space on the disk of /data" in hint


def test_a_disk_so_full_that_nothing_could_be_logged_is_still_recognized() -> None:
    assert "disk of /data is full" in error("", free=4096)[0]


def test_a_disk_for_reading_only_is_not_called_full() -> None:
    message, hint = error("[Errno 30] Read-only file system: '/data'", free=0)
    assert "for reading only" in message
    assert "full" not in message
    assert "Free" not in hint


def test_the_error_for_a_forbidden_file_names_its_owner() -> None:
    message, hint = error("open /data/nats/x: permission denied")
    assert "no permission" in message
    assert "ls -la /data" in hint


def test_a_user_without_a_name_is_what_a_container_has() -> None:
    message, hint = error("initdb: could not look up effective user ID 1234: user does not exist")
    assert "has no name on this machine" in message
    assert "DATABASE_URL" in hint


def test_anything_else_shows_the_last_lines_and_where_the_rest_is() -> None:
    message, hint = error("\n".join(f"line {number}" for number in range(30)))
    assert "line 29" in message
    assert "line 22" in message
    assert "line 21" not in message
    assert "/data/nats.log" in hint


def test_an_error_of_the_file_system_names_no_log() -> None:
    found = explain_failure(
        "services", "[Errno 36] File name too long", data_dir=Path("/data"), free_bytes=GIB, log_file=None
    )
    assert found.message == "The embedded services can't start. [Errno 36] File name too long."
    assert "log" not in (found.hint or "")


def test_a_password_in_the_log_is_not_repeated() -> None:
    message, _ = error("can't reach nats://vaultstream:hunter2@127.0.0.1:4222")
    assert "hunter2" not in message
    assert "vaultstream:***@" in message


def test_free_space_is_known_for_a_directory_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") > 0


def test_a_folder_of_the_kernel_that_takes_no_files_is_not_called_a_full_disk() -> None:
    found = explain_failure(
        "services",
        "[Errno 2] No such file or directory: '/proc/x'",
        data_dir=Path("/proc/x"),
        free_bytes=0,
        log_file=None,
    )
    assert "full" not in found.message
    assert "set another --data-dir" in (found.hint or "")
