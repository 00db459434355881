"""The folder of `--jobs`: a folder for each job, with its state in a file that is replaced as a whole.

- `ID`: the folder of a job
  - `job.json`: the job
  - `work`: the table, and what the training tool writes; removed when the job ends
  - `models`: the bundle of a job that has trained
  - `files`: what clients can download
- `.home`: caches of libraries, for all jobs
- `.lock`: held by the one gateway that uses the folder

Tables have private data. So only the owner of the folder can read it, and a table is
removed as soon as its job has ended.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from scorewire_contract.service import durable
from scorewire_contract.service.file_lock import FileLock, LockedError
from scorewire_contract.service.logs import logger
from scorewire_contract.service.start import StartError
from scorewire_gateway.jobs.job import Job, JobState

_ID = re.compile("[0-9a-f]{16}")
_RECORD, _WORK, _MODELS, _FILES = "job.json", "work", "models", "files"
_HOME, _LOCK = ".home", ".lock"
_OWNER_ONLY = 0o700
_MAX_RECORD_BYTES = 64 << 20


def is_job_id(text: str) -> bool:
    """Whether a text has the form of a job's id."""
    return _ID.fullmatch(text) is not None


class JobFolder:
    """The folder of all jobs, locked for this process.

    Raises:
        StartError: the folder cannot be used, or another gateway uses it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=_OWNER_ONLY)
            self.home.mkdir(exist_ok=True, mode=_OWNER_ONLY)
            self._lock = FileLock(self.path / _LOCK)
        except LockedError as error:
            raise StartError(f"--jobs {path} is used by another gateway, {error}") from None
        except OSError as error:
            raise StartError(f"--jobs {path} cannot be used: {error.strerror}") from None

    @property
    def home(self) -> Path:
        """The home folder of all jobs' processes."""
        return self.path / _HOME

    def close(self) -> None:
        """Give the folder free."""
        self._lock.release()

    def of(self, job: Job) -> Path:
        """The folder of a job."""
        return self.path / job.id

    def work(self, job: Job) -> Path:
        """Where a job's process works."""
        return self.of(job) / _WORK

    def table(self, job: Job) -> Path:
        """The uploaded table of a job."""
        return self.work(job) / job.file

    def models(self, job: Job) -> Path:
        """The folder of the bundle of a job that has trained."""
        return self.of(job) / _MODELS

    def files(self, job: Job) -> Path:
        """The files of a job that can be downloaded."""
        return self.of(job) / _FILES

    def new_id(self) -> str:
        """An id that no job has."""
        return secrets.token_hex(8)

    def create(self, job: Job) -> None:
        """Make the folders of a new job.

        Raises:
            OSError: they cannot be made.
        """
        self.of(job).mkdir(mode=_OWNER_ONLY)
        self.work(job).mkdir()
        self.files(job).mkdir()

    def save(self, job: Job) -> None:
        """Write the state of a job; once this returns, it is on the disk.

        Raises:
            OSError: it cannot be written.
        """
        durable.write_json(self.of(job) / _RECORD, job.to_record())

    def load(self) -> list[Job]:
        """Read all jobs, the oldest first; uploads that were cut off are removed."""
        jobs = []
        for entry in sorted(self.path.iterdir()):
            if not is_job_id(entry.name) or not entry.is_dir():
                continue
            job = self._read(entry)
            if job is None or job.state is JobState.UPLOADING:
                shutil.rmtree(entry, ignore_errors=True)
            else:
                jobs.append(job)
        return sorted(jobs, key=lambda job: (job.created_at, job.id))

    def finish(self, job: Job) -> None:
        """Remove what only a job that has not ended needs: its table, and what its process has written."""
        shutil.rmtree(self.work(job), ignore_errors=True)

    def remove(self, job: Job) -> None:
        """Remove all files of a job."""
        # First the state: a folder without one is removed at the next start.
        with suppress(OSError):
            (self.of(job) / _RECORD).unlink(missing_ok=True)
        shutil.rmtree(self.of(job), ignore_errors=True)

    def used_bytes(self) -> int:
        """The bytes of all files of all jobs on the disk."""
        return _tree_bytes(self.path)

    def free_bytes(self) -> int:
        """The bytes of the disk that this process may still write."""
        return shutil.disk_usage(self.path).free

    def _read(self, folder: Path) -> Job | None:
        try:
            with (folder / _RECORD).open("rb") as file:
                job = Job.from_record(json.loads(file.read(_MAX_RECORD_BYTES)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger().warning("a job is removed: its state cannot be read", job=folder.name, error=str(error))
            return None
        return job if job.id == folder.name else None


def _tree_bytes(folder: Path) -> int:
    """The bytes that the files below a folder take on the disk; files may vanish meanwhile."""
    count = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    count += _tree_bytes(Path(entry.path))
                else:
                    count += entry.stat(follow_symlinks=False).st_blocks * 512
    return count
