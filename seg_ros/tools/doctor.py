# SPDX-License-Identifier: Apache-2.0
"""`seg_ros doctor`: what would stop images from flowing on this machine, each with its remedy."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
import fcntl
from importlib.metadata import PackageNotFoundError, version
import os
from pathlib import Path
import platform
import shutil

SHARED_MEMORY = Path('/dev/shm')
_KERNEL = Path('/proc/sys/net')
_LARGE_IMAGE = 1 << 19  # bytes, from which on best effort loses most on a default transport
_MIN_SOCKET_BUFFER = 1 << 21  # bytes: a few fragments of a large image
_MIN_FRAGMENT_MEMORY = 1 << 23
_TOLERATED_LOSS = 0.01
_LIBRARIES = ('torch', 'torchvision', 'numpy', 'opencv-python-headless', 'transformers',
              'onnxruntime')


@dataclass(frozen=True)
class Finding:
    """One line of the answer; a remedy makes it something to mend."""

    subject: str
    text: str
    remedy: str = ''


def run(options: Namespace) -> int:
    """Print every finding; return 1 where something is to be mended."""
    findings = [*machine(), *shared_memory(SHARED_MEMORY, os.environ), *kernel(_KERNEL),
                *libraries(), *graph(options.seconds)]
    for finding in findings:
        mark = 'mend' if finding.remedy else 'ok'
        print(f'{mark:<5} {finding.subject}: {finding.text}')
        if finding.remedy:
            print(f'      -> {finding.remedy}')
    wrong = sum(bool(finding.remedy) for finding in findings)
    print(f'{wrong} of {len(findings)} are to be mended')
    return int(wrong > 0)


def machine() -> Iterator[Finding]:
    """Yield what this machine is."""
    yield Finding('machine', f'{platform.platform()}, {os.cpu_count()} cores, '
                  f'Python {platform.python_version()}')


def shared_memory(folder: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield how much room shared memory has, what it is used for, and what was left there."""
    from seg_ros.ros.shared_memory import chosen_profile, REMEDY, segment_size, shortage
    variable, profile = chosen_profile(environment)
    segment = segment_size(profile)
    if profile and not Path(profile).is_file():
        yield Finding('shared memory profile', f'{variable} is {profile!r}, which is no file',
                      'give the whole path of config/fastdds_shared_memory.xml')
    elif not profile:
        yield Finding('shared memory profile', f'{variable} is not set: large images go in '
                      f'pieces, segments have {segment >> 10} KB',
                      'export it for camera and node: config/fastdds_shared_memory.xml')
    else:
        yield Finding('shared memory profile', f'{profile}, segments of {segment >> 20} MB')
    if not folder.is_dir():
        yield Finding('/dev/shm', 'is not there', 'mount a tmpfs at /dev/shm')
        return
    usage = shutil.disk_usage(folder)
    missing = shortage(folder, environment)
    yield Finding('/dev/shm', missing or f'{usage.free >> 20} of {usage.total >> 20} MB are free',
                  REMEDY if missing else '')
    orphans = orphans_in(folder)
    megabytes = sum(path.stat().st_blocks * 512 for path in orphans) / 1e6
    yield Finding('orphans', f'{len(orphans)} segments of ended processes, {megabytes:.1f} MB',
                  'run `fastdds shm clean`' if orphans else '')


def orphans_in(folder: Path) -> list[Path]:
    """Return the segments of Fast DDS whose owner's lock is free: their owner has ended."""
    found = []
    for lock in sorted(folder.glob('fast*_el')):
        segment = lock.with_name(lock.name.removesuffix('_el'))
        if segment.exists() and _is_free(lock):
            found.append(segment)
    return found


def _is_free(path: Path) -> bool:
    """Return whether nobody holds the lock of a file; another user's file says nothing."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:
        return False


def kernel(folder: Path) -> Iterator[Finding]:
    """Yield whether sockets and fragments have room for large images."""
    for name, least in (('core/rmem_max', _MIN_SOCKET_BUFFER),
                        ('ipv4/ipfrag_high_thresh', _MIN_FRAGMENT_MEMORY)):
        path, key = folder / name, f'net.{name.replace("/", ".")}'
        if not path.is_file():
            yield Finding(key, "cannot be read here: a container has its host's")
            continue
        value = int(path.read_text())
        yield Finding(key, f'{value} bytes', '' if value >= least
                      else f'sudo sysctl -w {key}={4 * least}')


def libraries() -> Iterator[Finding]:
    """Yield versions, and whether torch finds a GPU."""
    versions = [f'{name} {found}' for name in _LIBRARIES if (found := _version(name))]
    yield Finding('libraries', ', '.join(versions))
    if not _version('torch'):
        yield Finding('torch', 'is not installed', 'pip install torch torchvision')
        return
    import torch
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Finding('GPU', f'{", ".join(names)}, CUDA {torch.version.cuda}')
    elif Path('/dev/nvidia0').exists():
        yield Finding('GPU', f'there is one, but torch {torch.__version__} does not find it',
                      'install a torch that fits the driver (nvidia-smi shows its version)')
    else:
        yield Finding('GPU', 'none: models run on the CPU')


def _version(name: str) -> str:
    """Return a distribution's version, empty where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ''


def graph(seconds: float) -> Iterator[Finding]:
    """Yield the middleware, and of each image topic its publishers and what arrives of it."""
    try:
        from seg_ros.ros.image_topics import listen, middleware
    except ImportError as error:
        yield Finding('ROS', f'cannot be imported: {error}', 'source the ROS installation')
        return
    domain = os.environ.get('ROS_DOMAIN_ID', '0')
    reach = os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')
    yield Finding('middleware', f'{middleware()}, domain {domain}, discovery range {reach}')
    topics = listen(seconds=seconds)
    if not topics:
        yield Finding('image topics', 'nobody publishes one in this domain',
                      'start the camera; compare ROS_DOMAIN_ID and discovery range with its own')
    for topic in topics:
        yield _topic(topic)


def _topic(topic) -> Finding:  # type: ignore[no-untyped-def]  # of the layer that is lazy here
    """Return what arrived of a topic."""
    text = (f'{topic.kind} of {", ".join(topic.publishers)}: {topic.received} in '
            f'{topic.seconds:.0f} s, {topic.image_bytes / 1e6:.2f} MB each, '
            f'{topic.loss:.0%} lost')
    remedy = ''
    if not topic.received:
        remedy = 'is the camera running? do other machines share network and domain?'
    elif topic.loss > _TOLERATED_LOSS:
        large = 'let the camera publish reliable, or give both sides the shared-memory profile'
        remedy = large if topic.image_bytes > _LARGE_IMAGE else 'this machine is too slow for it'
    elif len(topic.reliabilities) > 1:
        remedy = 'publishers offer different reliabilities: the node must take best effort'
    return Finding(topic.name, text, remedy)
