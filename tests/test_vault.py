"""The vault: what is in it, who can read it, and what it does with a file that is not right."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pickle
import platform
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import until

from breeze_lab import processes, settings, vault
from breeze_lab.errors import VaultError
from breeze_lab.vault import desktop, file
from breeze_lab.vault import kernel as kernel_room

SECRET = "s3cr3t+session=key"
KEY = base64.b64encode(bytes(range(32))).decode()

needs_kernel = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux has a kernel keyring"
)


@pytest.fixture(autouse=True)
def alone(home, monkeypatch):
    """No key from the machine's own environment, no desktop's keyring."""
    for name in ("BREEZE_LAB_VAULT_KEY_FILE", "CREDENTIALS_DIRECTORY", "BREEZE_LAB_VAULT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)


@pytest.fixture
def key_file(tmp_path, monkeypatch):
    path = tmp_path / "vault-key"
    path.write_text(KEY + "\n")
    path.chmod(0o600)
    monkeypatch.setenv("BREEZE_LAB_VAULT_KEY_FILE", str(path))
    return path


@pytest.fixture
def box(key_file, home):
    """The path of a vault file with two entries."""
    kept = vault.open()
    kept.set("credentials:icici", SECRET)
    kept.set("session", "another")
    return home / "data" / "vault.json"


def test_a_mounted_key_makes_a_lasting_vault(box):
    """Entries come back, in a file of the user's alone, and it says where they are."""
    kept = vault.open()
    assert (kept.backend, kept.lasting) == ("mounted", True)
    assert "they stay until you forget them" in kept.describe()
    assert kept.get("credentials:icici") == SECRET
    assert kept.get("nothing") is None
    assert stat.S_IMODE(box.stat().st_mode) == 0o600
    kept.delete("session")
    kept.delete("session")
    assert (kept.get("session"), kept.get("credentials:icici")) == (None, SECRET)


def test_neither_file_nor_folder_holds_a_secret(box, home):
    """Not in clear, not in base64, and no temporary file is left."""
    for path in home.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for spelled in (SECRET.encode(), base64.b64encode(SECRET.encode()), KEY.encode()):
                assert spelled not in data, path
    assert sorted(path.name for path in box.parent.iterdir()) == ["vault.json", "vault.lock"]


def test_a_systemd_credential_is_found_without_a_setting(tmp_path, monkeypatch):
    """$CREDENTIALS_DIRECTORY holds a file of our name."""
    (tmp_path / "breeze-lab-vault-key").write_text(KEY)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert vault.open().backend == "mounted"


def test_the_same_text_is_never_the_same_box(box):
    """Fresh nonces: two writes of one text differ, two entries of one text too."""
    before = json.loads(box.read_text())["entries"]
    vault.open().set("credentials:icici", SECRET)
    after = json.loads(box.read_text())["entries"]
    assert before["credentials:icici"] != after["credentials:icici"]


def _flipped(data: bytes, at: int) -> bytes:
    other = bytearray(data)
    other[at] ^= 1
    return bytes(other)


def test_no_altered_byte_goes_unnoticed(box):
    """Each byte in turn: refused, or it was white space; the file is left as it is."""
    whole = box.read_bytes()
    kept = vault.open()
    unnoticed, told = [], []
    for at in range(len(whole)):
        box.write_bytes(_flipped(whole, at))
        try:
            found = kept.get("credentials:icici")
        except VaultError as exc:
            told.append(str(exc))
        else:
            assert found == SECRET
            unnoticed.append(whole[at : at + 1])
        assert box.read_bytes() == _flipped(whole, at)
    # JSON takes some other white space for a new line; everything else was noticed.
    assert set(unnoticed) <= {b"\n", b" "}
    assert SECRET not in "".join(told)


def test_the_check_of_altered_bytes_can_fail(box, monkeypatch):
    """The planted fault: without the seal, an entry that was dropped is not missed."""
    content = json.loads(box.read_text())
    del content["entries"]["session"]
    box.write_text(json.dumps(content))
    kept = vault.open()
    with pytest.raises(VaultError, match="was altered"):
        kept.get("credentials:icici")
    real = file._sealed
    sealed = json.loads(real(b"", {}))
    assert sealed == [1, "", []]

    class Careless:
        def __init__(self, cipher):
            self.cipher = cipher

        def decrypt(self, nonce, box_, bound):
            return b"" if bound.startswith(b"[") else self.cipher.decrypt(nonce, box_, bound)

    strict = file._cipher
    monkeypatch.setattr(file, "_cipher", lambda key: Careless(strict(key)))
    assert kept.get("session") is None


@pytest.mark.parametrize("how", ["swapped", "renamed", "taken from another file"])
def test_entries_are_bound_to_their_place(box, how, tmp_path, monkeypatch):
    """A box under another name, or of another vault, is refused."""
    content = json.loads(box.read_text())
    entries = content["entries"]
    if how == "swapped":
        entries["session"], entries["credentials:icici"] = (
            entries["credentials:icici"], entries["session"],
        )  # fmt: skip
    elif how == "renamed":
        entries["other"] = entries.pop("session")
    else:
        monkeypatch.setenv("BREEZE_LAB_HOME", str(tmp_path / "other"))
        vault.open().set("session", "of another home")
        other = json.loads((tmp_path / "other" / "data" / "vault.json").read_text())
        entries["session"] = other["entries"]["session"]
        monkeypatch.undo()
        monkeypatch.setenv("BREEZE_LAB_HOME", str(box.parent.parent))
        monkeypatch.setenv("BREEZE_LAB_VAULT_KEY_FILE", str(tmp_path / "vault-key"))
    box.write_text(json.dumps(content))
    with pytest.raises(VaultError, match="was altered"):
        vault.open().get("session")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_refused_and_kept(box, share):
    """Reading and writing both refuse; nothing is overwritten; forgetting moves it aside."""
    whole = box.read_bytes()
    cut = whole[: int(len(whole) * share)]
    box.write_bytes(cut)
    kept = vault.open()
    for attempt in (lambda: kept.get("session"), lambda: kept.set("session", "new")):
        with pytest.raises(VaultError, match=r"damaged or cut short.*breeze-lab logout --forget"):
            attempt()
    assert box.read_bytes() == cut
    aside = kept.start_anew()
    assert aside is not None
    assert aside.read_bytes() == cut
    kept.set("session", "new")
    assert kept.get("session") == "new"


def test_another_key_is_told_from_an_altered_file(box, key_file):
    """The message says which; with the right key everything is there again."""
    key_file.write_text("x" * 40)
    vault._opened.clear()
    with pytest.raises(VaultError, match=r"another key.*Mount the key it was written with"):
        vault.open().get("session")
    with pytest.raises(VaultError, match="another key"):
        vault.open().set("session", "lost?")
    key_file.write_text(KEY)
    vault._opened.clear()
    assert vault.open().get("session") == "another"


def test_a_file_others_can_read_is_repaired_and_said(box):
    """It held ciphertext: the mode is put back and the description tells."""
    box.chmod(0o644)
    kept = vault.open()
    assert kept.get("session") == "another"
    assert stat.S_IMODE(box.stat().st_mode) == 0o600
    assert "others could read the file" in kept.describe()


def test_a_link_in_the_place_of_the_file_is_not_followed(box, tmp_path):
    """Somebody else's file is not taken for ours."""
    box.rename(tmp_path / "elsewhere.json")
    box.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(VaultError, match="cannot be opened"):
        vault.open().get("session")


def test_a_passphrase_is_made_slow_to_guess(key_file):
    """A short mounted secret goes through scrypt, a long one does not need it."""
    file.derive.cache_clear()
    key_file.write_text("correct horse batt")
    begun = time.perf_counter()
    vault.open().set("a", SECRET)
    assert time.perf_counter() - begun > 0.02, "that was no scrypt"
    assert vault.open().get("a") == SECRET


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_text("short"), "at least 12"),
        (lambda path: path.write_text(""), "at least 12"),
        (lambda path: path.write_bytes(b"x" * 70_000), "too large"),
        (lambda path: path.chmod(0o622), "Others may change"),
    ],
)
def test_a_key_that_cannot_be_one_is_refused(key_file, prepare, why):
    """No silent step down to a weaker place than the one somebody mounted."""
    prepare(key_file)
    with pytest.raises(VaultError, match=why):
        vault.open()


def test_a_key_file_others_can_read_is_said(key_file):
    """Container runtimes mount secrets so; it is not refused, it is told."""
    key_file.chmod(0o644)
    assert "can read that key" in vault.open().describe()


def test_nothing_shows_and_nothing_pickles(box):
    """repr, str and pickle of the vault hold no secret."""
    kept = vault.open()
    assert repr(kept) == "<Vault mounted>"
    assert SECRET not in f"{kept!r}{kept}{kept.describe()}{kept._store!r}"
    with pytest.raises(TypeError):
        pickle.dumps(kept)


_WRITER = """
import sys
from breeze_lab import vault
who, count = sys.argv[1], int(sys.argv[2])
for number in range(count):
    vault.open().set(f"{who}-{number}", f"text of {who}-{number}")
    print(number, flush=True)
"""


def test_writers_of_many_processes_lose_nothing(key_file):
    """Five processes write twenty entries each, at the same time; all hundred are there."""
    command = [sys.executable, "-c", _WRITER]
    writers = [
        subprocess.Popen([*command, f"w{n}", "20"], stdout=subprocess.DEVNULL) for n in range(5)
    ]
    assert [writer.wait(60) for writer in writers] == [0] * 5
    kept = vault.open()
    for n in range(5):
        for number in range(20):
            assert kept.get(f"w{n}-{number}") == f"text of w{n}-{number}"


def test_a_killed_writer_leaves_a_whole_file(key_file):
    """SIGKILL at any moment: what was told as written is there."""
    for round_ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, f"k{round_}", "1000"], stdout=subprocess.PIPE, text=True
        )
        with writer:
            for _ in range(1 + round_):
                assert writer.stdout.readline()
            time.sleep(round_ * 0.0007)
            writer.kill()
        for number in range(1 + round_):
            assert vault.open().get(f"k{round_}-{number}")


# -- the kernel's keyring -----------------------------------------------------


def _kernel_or_skip():
    try:
        return vault.open()
    except VaultError as exc:
        pytest.skip(str(exc))


def _forget_kernel_key(home):
    """Drop our key from the kernel's keyring, as a restart does."""
    keyctl = kernel_room._CALLS[platform.machine()][1]
    digest = hashlib.sha256(os.fsencode(home / "data")).hexdigest()[:24]
    name, ring = f"breeze-lab:vault:{digest}".encode(), kernel_room._USER_KEYRING
    number = kernel_room._call(keyctl, kernel_room._SEARCH, ring, b"user", name, 0)
    kernel_room._call(keyctl, 9, number, ring)  # KEYCTL_UNLINK


@pytest.fixture
def kernel(home, monkeypatch):
    monkeypatch.setenv("BREEZE_LAB_VAULT", "kernel")
    yield _kernel_or_skip()
    _forget_kernel_key(home)


@needs_kernel
def test_without_anything_the_kernel_holds_the_key(kernel, home):
    """Another process opens it; the description says until when, and what lasts longer."""
    kernel.set("session", SECRET)
    code = "from breeze_lab import vault; print(vault.open().get('session'))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == SECRET
    assert not kernel.lasting
    assert "until this machine restarts" in kernel.describe()
    assert "BREEZE_LAB_VAULT_KEY_FILE" in kernel.describe()
    assert SECRET not in (home / "data" / "vault-until-restart.json").read_text()


@needs_kernel
def test_after_a_restart_the_old_file_is_set_aside_and_said(kernel, home):
    """The key is gone with the kernel's memory: a new vault begins, the old file is kept."""
    kernel.set("session", SECRET)
    forgotten = kernel._store
    _forget_kernel_key(home)
    vault._opened.clear()
    again = vault.open()
    assert again._store is not forgotten
    assert again.get("session") is None
    assert "type it in once more" in again.describe()
    assert list((home / "data").glob("vault-until-restart-aside-*.json"))


# -- a process that keeps the key ---------------------------------------------


@pytest.fixture
def keeper(home, monkeypatch):
    monkeypatch.setenv("BREEZE_LAB_VAULT", "keeper")
    kept = vault.open()
    yield kept
    record = processes.running(home / "runtime", "keeper")
    if record is not None:
        os.kill(record["pid"], signal.SIGTERM)
        until(lambda: processes.running(home / "runtime", "keeper") is None, "its end")


def test_where_nothing_else_works_a_process_keeps_the_key(keeper, home):
    """Another process opens the same vault; the key is on no disk, and its end is said."""
    keeper.set("session", SECRET)
    code = "from breeze_lab import vault; print(vault.open().get('session'))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == SECRET
    assert (keeper.backend, keeper.lasting, keeper.shared) == ("keeper", False, True)
    assert "breeze-lab stop" in keeper.describe()
    key = keeper._store._secret
    for path in home.rglob("*"):
        if path.is_file():
            assert key not in path.read_bytes()
            assert key.hex().encode() not in path.read_bytes()
    assert stat.S_IMODE(settings.folders().socket("keeper").stat().st_mode) == 0o600


def test_when_the_keeper_is_gone_the_old_file_is_set_aside(keeper, home):
    """SIGKILL takes the key: a new vault begins, which is said, and nothing is destroyed."""
    keeper.set("session", SECRET)
    os.kill(processes.running(home / "runtime", "keeper")["pid"], signal.SIGKILL)
    until(lambda: processes.running(home / "runtime", "keeper") is None, "its end")
    vault._opened.clear()
    again = vault.open()
    assert again.get("session") is None
    assert "type it in once more" in again.describe()
    assert list((home / "data").glob("vault-while-kept-aside-*.json"))


# -- keyrings -----------------------------------------------------------------


class SecretServiceStandIn:
    """A desktop's keyring in memory, in the name of a real one."""

    def __init__(self) -> None:
        self.items = {}

    def get_password(self, service, name):
        return self.items.get((service, name))

    def set_password(self, service, name, text):
        self.items[service, name] = text

    def delete_password(self, service, name):
        del self.items[service, name]


SecretServiceStandIn.__module__ = "keyring.backends.SecretService"


class LockedStandIn(SecretServiceStandIn):
    """A keyring whose owner does not come to unlock it."""

    def get_password(self, *_):
        time.sleep(30)


LockedStandIn.__module__ = "keyring.backends.SecretService"


def _pretenders():
    from keyring.backends import chainer, fail, null

    plain = type("PlaintextKeyring", (SecretServiceStandIn,), {"__module__": "keyrings.alt.file"})
    chained = chainer.ChainerBackend()
    return {"fail": fail.Keyring(), "null": null.Keyring(), "alt": plain(), "chained": chained}


@pytest.mark.parametrize("name", ["fail", "null", "alt", "chained"])
def test_what_only_pretends_to_be_a_keyring_is_never_taken(tmp_path, name):
    """Plain text, nothing, and chains that may hold either."""
    pretender = _pretenders()[name]
    with pytest.raises(VaultError, match="no desktop keyring"):
        desktop.Keyring(tmp_path, lambda: [pretender])


def test_a_real_keyring_behind_a_pretender_is_taken(tmp_path):
    """The first real one; two data folders do not see each other's entries."""
    real = SecretServiceStandIn()
    kept = desktop.Keyring(tmp_path, lambda: [*_pretenders().values(), real])
    kept.set("session", SECRET)
    assert kept.get("session") == SECRET
    assert desktop.Keyring(tmp_path / "other", lambda: [real]).get("session") is None
    kept.delete("session")
    kept.delete("session")
    assert kept.get("session") is None
    assert kept.lasting
    assert "SecretService" in kept.says


def test_a_locked_keyring_does_not_hang(tmp_path):
    """Finding one and asking one both have a limit, and the message says what to do."""
    begun = time.monotonic()
    with pytest.raises(VaultError, match="did not answer within"):
        desktop.Keyring(tmp_path, lambda: time.sleep(30), look_s=0.2)
    kept = desktop.Keyring(tmp_path, lambda: [LockedStandIn()], unlock_s=0.2)
    with pytest.raises(VaultError, match="unlock it, then try again"):
        kept.get("session")
    assert time.monotonic() - begun < 25


def test_a_failing_keyring_does_not_repeat_the_secret(tmp_path):
    """Its exception may quote what was to be kept; ours names its kind."""
    broken = SecretServiceStandIn()

    def refuse(*words):
        raise RuntimeError(f"cannot keep {words}")

    broken.set_password = refuse
    kept = desktop.Keyring(tmp_path, lambda: [broken])
    with pytest.raises(VaultError, match="RuntimeError") as refused:
        kept.set("session", SECRET)
    assert SECRET not in str(refused.value)


def test_this_machines_own_keyrings_are_looked_at_in_bounded_time(tmp_path):
    """Whatever is installed here, the look ends, and nothing unreal is found."""
    begun = time.monotonic()
    found = desktop._within(10, desktop._candidates, "no answer")
    assert time.monotonic() - begun < 10
    assert all(desktop._real(one) for one in found)


def test_memory_is_the_last_resort_and_says_so(monkeypatch):
    """It keeps entries for this process, and tells that no other kernel sees them."""
    monkeypatch.setenv("BREEZE_LAB_VAULT", "memory")
    kept = vault.open()
    kept.set("session", SECRET)
    assert vault.open().get("session") == SECRET
    assert "no other kernel sees them" in kept.describe()
    assert not kept.lasting


def test_an_unknown_wish_is_refused(monkeypatch):
    """BREEZE_LAB_VAULT=plain does not fall back on anything."""
    monkeypatch.setenv("BREEZE_LAB_VAULT", "plaintext")
    with pytest.raises(VaultError, match="one of mounted, keyring, kernel, keeper, memory"):
        vault.open()


@pytest.mark.parametrize(
    ("name", "text"), [("", "x"), ("a\nb", "x"), ("n" * 101, "x"), ("n", "x" * 70_000)]
)
def test_odd_entries_are_refused(key_file, name, text):
    """Names are short and printable, texts have a bound."""
    with pytest.raises(VaultError):
        vault.open().set(name, text)


def test_opening_the_vault_loads_nothing_heavy():
    """The Jupyter server asks it; only OpenSSL may come, and not before there is a secret."""
    code = "import sys, breeze_lab.accounts\nprint(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"pandas", "requests", "keyring", "cryptography"} & set(loaded.stdout.split())
    assert Path(file.__file__).exists()
