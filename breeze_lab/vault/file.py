"""The vault's encrypted file: AES-256-GCM, one box an entry, one seal over all of them.

An entry's box is bound to its name, the seal to every byte that counts, so an
entry that was swapped, dropped or brought back from another file is noticed.
The file is replaced whole (temporary file, fsync, rename) under a lock, so
processes that write at the same time lose nothing, and a crash leaves the old
file. A file that cannot be read is never overwritten.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import hmac
import json
import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from breeze_lab import clock
from breeze_lab.errors import VaultError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EncryptedFile", "Mounted", "mounted_key"]

_FORMAT: Final = 1
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_SALT_BYTES: Final = 16
#: A mounted secret shorter than this is a passphrase, and guessing it must be slow.
_WHOLE_KEY_BYTES: Final = 32
#: Below this no slowness helps.
_SHORTEST: Final = 12
_LARGEST_KEY_FILE: Final = 64 * 1024
_LARGEST_FILE: Final = 4 * 1024 * 1024
#: About 80 ms and 32 MB a guess.
_SCRYPT: Final = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024}
_OTHERS: Final = 0o077
_WRITABLE: Final = 0o022


def mounted_key() -> Path | None:
    """Return the path of the mounted secret, or None when none is mounted."""
    named = os.environ.get("BREEZE_LAB_VAULT_KEY_FILE", "").strip()
    if named:
        return Path(named).expanduser()  # also when it is missing: somebody wanted it
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "").strip()
    places = [Path(credentials) / "breeze-lab-vault-key"] if credentials else []
    for path in (*places, Path("/run/secrets/breeze_lab_vault_key")):
        with contextlib.suppress(OSError):
            if path.is_file():
                return path
    return None


class EncryptedFile:
    """Entries in one file under one secret.

    Parameters
    ----------
    path
        The file; made at the first `set`.
    secret
        What the file's key is derived from.
    advice
        What to do when it does not open the file.
    """

    def __init__(self, path: Path, secret: bytes, advice: str) -> None:
        self._path = path
        self._secret = secret
        self._advice = advice
        self.notes: list[str] = []

    def get(self, name: str) -> str | None:
        """Return an entry, or None."""
        with self._locked():
            found = self._read()
        return None if found is None else found[1].get(name)

    def set(self, name: str, text: str) -> None:
        """Keep an entry."""
        with self._locked():
            salt, entries = self._read() or (secrets.token_bytes(_SALT_BYTES), {})
            self._write(salt, {**entries, name: text})

    def delete(self, name: str) -> None:
        """Forget an entry."""
        with self._locked():
            found = self._read()
            if found is not None and found[1].pop(name, None) is not None:
                self._write(*found)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._path.name}>"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with lock(self._path.with_suffix(".lock")):
            yield

    def _bad(self, what: str) -> VaultError:
        return VaultError(
            f"The vault {self._path} {what}. {self._advice} Nothing was changed. To begin with an "
            "empty one, run `breeze-lab logout --forget`, which moves the file aside."
        )

    def _read(self) -> tuple[bytes, dict[str, str]] | None:
        """Return salt and entries; None when there is no file yet."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._bad(f"cannot be opened ({exc.strerror})") from exc
        with os.fdopen(descriptor, "rb") as file:
            info = os.fstat(descriptor)
            if info.st_uid != os.getuid() or not stat.S_ISREG(info.st_mode):
                raise self._bad("is not a file of yours")
            if info.st_mode & _OTHERS:
                # Repaired and not refused: what others could read is ciphertext, while refusing
                # would lock its owner out for good because of one chmod or one restored backup.
                os.fchmod(descriptor, 0o600)
                self.notes.append("others could read the file: its mode was put back to 0600")
            data = file.read(_LARGEST_FILE + 1)
        return self._open(data)

    def _open(self, data: bytes) -> tuple[bytes, dict[str, str]]:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - loads OpenSSL

        try:
            found = json.loads(data)
            salt, known = _bytes(found["salt"]), _bytes(found["key"])
            if found["format"] != _FORMAT:
                raise self._bad("was written by another version of Breeze Lab")
            boxes = {str(name): _unpack(box) for name, box in found["entries"].items()}
            seal = _unpack(found["seal"])
        except VaultError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise self._bad("is damaged or cut short") from exc
        key = derive(self._secret, salt)
        if not hmac.compare_digest(_mark(key), known):
            raise self._bad("was locked with another key, or its head was altered")
        try:
            cipher = _cipher(key)
            cipher.decrypt(*seal, _sealed(salt, boxes))
            entries = {
                name: cipher.decrypt(*box, _bound(name)).decode() for name, box in boxes.items()
            }
        except (InvalidTag, ValueError) as exc:
            raise self._bad("was altered by somebody who has no key") from exc
        return salt, entries

    def _write(self, salt: bytes, entries: dict[str, str]) -> None:
        key = derive(self._secret, salt)
        cipher = _cipher(key)
        boxes = {}
        for name, text in sorted(entries.items()):
            nonce = secrets.token_bytes(_NONCE_BYTES)
            boxes[name] = nonce, cipher.encrypt(nonce, text.encode(), _bound(name))
        nonce = secrets.token_bytes(_NONCE_BYTES)
        seal = nonce, cipher.encrypt(nonce, b"", _sealed(salt, boxes))
        whole = {
            "format": _FORMAT, "salt": _text(salt), "key": _text(_mark(key)),
            "entries": {name: _pack(*box) for name, box in boxes.items()}, "seal": _pack(*seal),
        }  # fmt: skip
        try:
            write_whole(self._path, json.dumps(whole, indent=1).encode())
        except OSError as exc:
            raise VaultError(
                f"The vault {self._path} cannot be written ({exc.strerror}). Make room or mend "
                "the folder's rights, then do it again; the old vault is as it was."
            ) from exc

    def set_aside(self) -> Path | None:
        """Move the file out of the way, kept for whoever finds its key; return where to."""
        with self._locked():
            aside = self._path.with_name(
                f"{self._path.stem}-aside-{clock.now():%Y%m%d-%H%M%S-%f}.json"
            )
            try:
                self._path.rename(aside)
            except FileNotFoundError:
                return None
            return aside

    def fits(self) -> bool:
        """Say whether the file, if there is one, was locked with our key."""
        with self._locked():
            try:
                found = json.loads(self._path.read_bytes())
                salt, known = base64.b64decode(found["salt"]), base64.b64decode(found["key"])
            except FileNotFoundError:
                return True
            except (OSError, ValueError, KeyError, TypeError):
                return True  # damaged is another matter, said when it is read
            return hmac.compare_digest(_mark(derive(self._secret, salt)), known)


class Mounted(EncryptedFile):
    """The file whose key somebody mounted: it lasts as long as both do."""

    name = "mounted"
    lasting = True

    def __init__(self, path: Path, key_file: Path) -> None:
        secret, note = _read_key(key_file)
        super().__init__(path, secret, f"Mount the key it was written with at {key_file}.")
        if note:
            self.notes.append(note)
        self._key_file = key_file

    @property
    def says(self) -> str:
        """Where secrets are."""
        notes = "".join(f"; {note}" for note in dict.fromkeys(self.notes))
        return (
            f"Secrets are in an encrypted file whose key is mounted at {self._key_file}: they "
            f"stay until you forget them{notes}."
        )


def _read_key(path: Path) -> tuple[bytes, str]:
    """Return the mounted secret and what is to be said of its rights."""
    try:
        with path.open("rb") as file:
            info = os.fstat(file.fileno())
            text = file.read(_LARGEST_KEY_FILE + 1)
    except OSError as exc:
        raise VaultError(
            f"The vault's key file {path} cannot be read ({exc.strerror}). Mount it, or take "
            "BREEZE_LAB_VAULT_KEY_FILE out of the environment."
        ) from exc
    if len(text) > _LARGEST_KEY_FILE:
        raise VaultError(f"{path} is too large for a key. Name the file that holds the secret.")
    secret = text.strip(b"\r\n")
    if len(secret) < _SHORTEST:
        raise VaultError(
            f"The vault's key in {path} has {len(secret)} bytes and at least {_SHORTEST} are "
            "needed. Make one: head -c 32 /dev/urandom | base64"
        )
    if info.st_mode & _WRITABLE and info.st_uid == os.getuid():
        raise VaultError(f"Others may change the vault's key {path}. Run: chmod 600 {path}")
    # Container runtimes mount secrets readable by all, to a container with one user: said, not
    # refused.
    loose = info.st_mode & _OTHERS and info.st_uid == os.getuid()
    return secret, "other users of this machine can read that key (chmod 600)" if loose else ""


@functools.lru_cache(maxsize=8)
def derive(secret: bytes, salt: bytes) -> bytes:
    """Return the file's key: HKDF of a whole key, scrypt of a passphrase."""
    if len(secret) < _WHOLE_KEY_BYTES:
        return hashlib.scrypt(secret, salt=salt, dklen=_KEY_BYTES, **_SCRYPT)
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - loads OpenSSL
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    made: bytes = HKDF(SHA256(), _KEY_BYTES, salt, b"breeze-lab vault 1").derive(secret)
    return made


def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see derive

    return AESGCM(key)


def _mark(key: bytes) -> bytes:
    """Return what tells a wrong key from an altered file and says nothing of the key."""
    return hmac.digest(key, b"breeze-lab vault key", "sha256")[:16]


def _bound(name: str) -> bytes:
    return b"breeze-lab vault 1 entry\0" + name.encode()


def _sealed(salt: bytes, boxes: dict[str, tuple[bytes, bytes]]) -> bytes:
    listed = [[name, _text(nonce), _text(box)] for name, (nonce, box) in sorted(boxes.items())]
    return json.dumps([_FORMAT, _text(salt), listed]).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    """Return what `_text` was given; base64 that we would not have written is refused."""
    data = base64.b64decode(text, validate=True)
    if _text(data) != text:
        raise ValueError("not canonical")
    return data


def _pack(nonce: bytes, box: bytes) -> str:
    return _text(nonce + box)


def _unpack(packed: str) -> tuple[bytes, bytes]:
    raw = _bytes(packed)
    return raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; another process waits meanwhile."""
    import fcntl  # noqa: PLC0415 - not everywhere; a keyring needs no lock

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes) -> None:
    """Replace `path` (mode 0600) by `data`: after a crash the old or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
