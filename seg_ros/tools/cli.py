# SPDX-License-Identifier: Apache-2.0
"""`seg_ros`: evaluate, segment, street, benchmark, doctor, models, parameters."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
import logging
import os
from pathlib import Path
import sys
import time

from seg_ros.core.config import parameter_table
from seg_ros.core.memory import keep_freed_memory

BAD_USE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count
_LOAD = Path('/proc/loadavg')
_LOOKS, _LOOK_S = 10, 0.01
_SHORT_SPIN = '10000'  # turns, about 0.1 ms
_DESCRIPTION = """Segment images without ROS, with the pipeline that the node runs.

  seg_ros evaluate --images DIR --labels DIR    how well a model does on labelled images
  seg_ros evaluate --video --images DIR ...     how well it names objects over frames in order
  seg_ros segment --video FILE --out DIR        pictures and label images of your own files
  seg_ros benchmark                             how long each stage of a frame takes here
  seg_ros doctor                                what would stop images from flowing here"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code; errors are one sentence on stderr."""
    logging.basicConfig(format='%(levelname)s: %(message)s')
    _choose_how_threads_wait()
    keep_freed_memory()
    try:
        options = _parser().parse_args(arguments)
        return options.run(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ValueError, OSError) as error:
        return _fail(error)
    # the expression is looked at only when something is raised: torch stays out until then
    except _model_error() as error:
        return _fail(error)


def _choose_how_threads_wait() -> None:
    """Set what OpenMP reads when torch is imported, unless the user has.

    Threads that spin while they wait for each other take the time of those they wait for: on a
    busy machine a model is several times slower. On an idle one a short spin saves the wake-ups,
    a quarter of street_tiny's time.
    """
    if 'OMP_WAIT_POLICY' in os.environ or 'GOMP_SPINCOUNT' in os.environ:
        return
    os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'
    if _is_idle():
        os.environ['GOMP_SPINCOUNT'] = _SHORT_SPIN


def _is_idle() -> bool:
    """Return whether nothing but this process has wanted a core for a moment."""
    try:
        for _ in range(_LOOKS):
            # the fourth number of `0.20 0.18 0.12 1/80 11206`: what runs now, this process too
            if int(_LOAD.read_text().split()[3].partition('/')[0]) > 1:
                return False
            time.sleep(_LOOK_S)
    except (OSError, ValueError, IndexError):
        return False
    return True


def _fail(error: Exception) -> int:
    """Say what is wrong."""
    print(f'seg_ros: {error}', file=sys.stderr)
    return BAD_USE


def _model_error() -> type[Exception]:
    """Return ModelError, which lives beside torch."""
    return import_module('seg_ros.models.contract').ModelError


def _parser() -> ArgumentParser:
    """Return the parser of all commands."""
    parser = ArgumentParser(
        prog='seg_ros', description=_DESCRIPTION, formatter_class=RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(title='commands', required=True, metavar='COMMAND')
    _add_evaluate(commands.add_parser('evaluate', help='mIoU, IoU by class and frames a second'))
    _add_segment(commands.add_parser('segment', help='overlays and label images of your files'))
    _add_street(commands.add_parser('street', help='frames of a synthetic street, with truth'))
    _add_benchmark(commands.add_parser('benchmark', help='milliseconds of each stage, memory'))
    doctor = commands.add_parser('doctor', help='what would stop images from flowing here')
    doctor.add_argument('--seconds', type=float, default=3.0, metavar='S',
                        help='how long image topics are listened to (default: %(default)s)')
    doctor.set_defaults(run=_run_doctor)
    models = commands.add_parser('models', help='list what can be run, with licence and size')
    models.set_defaults(run=_run_models)
    parameters = commands.add_parser('parameters', help="print the node's parameters in Markdown")
    parameters.set_defaults(run=_run_parameters)
    return parser


def _add_evaluate(parser: ArgumentParser) -> None:
    """Declare what `evaluate` takes."""
    parser.description = 'Compare class maps with labels: mIoU over all pixels of all frames.'
    parser.add_argument('--images', required=True, metavar='DIR', help='folder of images')
    parser.add_argument(
        '--labels',
        required=True,
        metavar='DIR',
        help="folder of 8-bit label images: the model's class ids, one file an image, same stem; "
        'with --video see --truth',
    )
    parser.add_argument(
        '--ignore-ids',
        default='255',
        metavar='IDS',
        help='label ids that are not counted, separated by commas (default: %(default)s); '
        "ids outside of the model's classes never are",
    )
    parser.add_argument('--json', metavar='FILE', help='write the figures there too')
    parser.add_argument(
        '--batch',
        type=int,
        default=1,
        metavar='N',
        help='images given to the model at a time, as a node does that serves N cameras '
        '(default: %(default)s)',
    )
    _add_model(parser)
    _add_evaluate_video(parser)
    parser.set_defaults(run=_run_evaluate)


def _add_evaluate_video(parser: ArgumentParser) -> None:
    """Declare what `evaluate --video` takes besides."""
    video = parser.add_argument_group('images in order, with the identities of objects')
    video.add_argument('--video', action='store_true', help='track the objects, and measure '
                       'HOTA, IDF1, id switches, STQ and VPQ too')
    video.add_argument('--rate-hz', type=float, metavar='R', help='frames a second')
    video.add_argument('--truth', choices=('grey16', 'kitti-step'), help='what --labels holds: '
                       '16-bit grey PNGs of class * 1000 + k (k = 1 .. 999 names an object of the '
                       'class over all frames, 0 none; 65535 is void), the default, or RGB PNGs '
                       'of KITTI-STEP (R class, G * 256 + B object)')
    video.add_argument('--min-area', type=int, metavar='N', help='leave out true objects where '
                       'they have fewer pixels')
    video.add_argument('--max-gap-s', type=float, metavar='S', help='an object that was out of '
                       'view for longer is another one when it comes back; without it, never')
    video.add_argument('--tracker-alone', action='store_true', help='give the tracker the true '
                       "maps instead of a model's")


def _add_street(parser: ArgumentParser) -> None:
    """Declare what `street` takes."""
    parser.description = 'Write images and truth (16-bit, see `evaluate --truth`) of a street.'
    parser.add_argument('--out', required=True, metavar='DIR', help='gets images/ and truth/')
    parser.add_argument('--seed', type=int, default=1, metavar='N', help='which street')
    parser.add_argument('--frames', type=int, default=150, metavar='N', help='how many')
    parser.add_argument('--rate-hz', type=float, default=15.0, metavar='R',
                        help='frames a second')
    parser.add_argument('--size', default='640x480', metavar='WxH', help='of the images')
    parser.set_defaults(run=_run_street)


def _add_segment(parser: ArgumentParser) -> None:
    """Declare what `segment` takes."""
    parser.description = 'Segment every frame: overlay, class map, instance map, instances.'
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--images', metavar='DIR', help='folder of images, or one image')
    source.add_argument('--video', metavar='FILE', help='video file')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder to write to')
    _add_model(parser)
    parser.set_defaults(run=_run_segment)


def _add_benchmark(parser: ArgumentParser) -> None:
    """Declare what `benchmark` takes."""
    parser.description = 'Time the stages of a frame, on rendered street frames in this process.'
    parser.add_argument('--size', default='640x480', metavar='WxH', help='of the frames')
    parser.add_argument('--frames', type=int, default=100, help='counted frames')
    parser.add_argument('--json', metavar='FILE', help='write the figures there too')
    _add_model(parser)
    parser.set_defaults(run=_run_benchmark)


def _add_model(parser: ArgumentParser) -> None:
    """Declare which model runs, and how."""
    parser.add_argument('--model', default='street_tiny', help='see `seg_ros models`')
    parser.add_argument('--weights', default='', metavar='FILE', help="instead of the model's own")
    parser.add_argument('--device', default='auto', help='auto, cpu or cuda:N')
    parser.add_argument(
        '-p',
        dest='parameters',
        action='append',
        default=[],
        metavar='NAME=VALUE',
        help='any other parameter of the node, such as score_threshold=0.3; may be repeated',
    )


def _run_evaluate(options: Namespace) -> int:
    if options.video:
        if options.batch != 1:
            raise ValueError('--batch is for images without order, expected no --video with it')
        return import_module('seg_ros.tools.evaluate_video').run(options)
    of_video = {'--rate-hz': options.rate_hz, '--truth': options.truth,
                '--min-area': options.min_area, '--max-gap-s': options.max_gap_s,
                '--tracker-alone': options.tracker_alone or None}
    lonely = [name for name, value in of_video.items() if value is not None]
    if lonely:
        raise ValueError(f'{lonely[0]} is for images in order, expected --video with it')
    return import_module('seg_ros.tools.evaluate').run(options)


def _run_street(options: Namespace) -> int:
    return import_module('seg_ros.tools.street').run(options)


def _run_segment(options: Namespace) -> int:
    return import_module('seg_ros.tools.segment').run(options)


def _run_benchmark(options: Namespace) -> int:
    return import_module('seg_ros.tools.benchmark').run(options)


def _run_doctor(options: Namespace) -> int:
    return import_module('seg_ros.tools.doctor').run(options)


def _run_models(options: Namespace) -> int:
    return import_module('seg_ros.tools.models').run(options)


def _run_parameters(options: Namespace) -> int:
    print(parameter_table())
    return 0


if __name__ == '__main__':
    sys.exit(main())
