# SPDX-License-Identifier: Apache-2.0
"""Writes the generated parts of README and docs: parameter table and measured figures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import re
from statistics import fmean
from typing import Any

import cv2

from seg_ros.core.config import parameter_table
from seg_ros.ros.codes import codes_table

ROOT = Path(__file__).resolve().parent.parent
_PICTURE_WIDTH = 1500  # pixels


PAGES = ('README.md', 'docs/street_tiny.md', 'docs/reliability.md', 'docs/integration.md',
         'docs/models.md', 'docs/tracking.md')


def generated(page: str) -> str:
    """Return a page's text with its generated parts as they should be."""
    parts = {'parameters': parameter_table(), 'codes': codes_table(), 'faults': _faults(),
             'figures': figures(), 'space': _space(_report('space')),
             'space_cost': _space_cost(_report('bench')), 'parity': _parity(),
             'quality': _by_class(_report('street_tiny_train')),
             'weights': _both_weights(_report('street_tiny_train'), _report('street_tiny')),
             'ablation': _ablation(_report('street_tiny_ablation')),
             'drives': _drives(_report('street_tiny_drives')),
             'shifted': _shifted(_report('street_tiny_shifted')),
             'identity': _identity_tables(_report('tracking'))}
    for name, text in parts.items():
        block = re.compile(rf'(<!-- {name} -->\n).*?(<!-- /{name} -->)', re.DOTALL)
        page = block.sub(lambda match, text=text: f'{match[1]}{text}\n{match[2]}', page)
    return page


def figures() -> str:
    """Return the tables of figures, from the reports that commands wrote."""
    bench = _report('bench')
    tables = {'node_cost': _cost, 'cameras': _cameras, 'postprocess': _against_libraries,
              'gpu': _on_gpu, 'tracking': _tracking_speed}
    return '\n\n'.join((
        _quality(_report('street_tiny_train'), _report('street_tiny')),
        *(table(bench) for section, table in tables.items() if section in bench),
        _identity(_report('tracking'))))


def _report(name: str) -> dict[str, Any]:
    """Return a report."""
    report: dict[str, Any] = json.loads((ROOT / 'reports' / f'{name}.json').read_text())
    return report


def _quality(learnt: dict[str, Any], packaged: dict[str, Any]) -> str:
    """Return what street_tiny sees: val before it learnt from that, streets as packaged."""
    val, streets = learnt['camvid_val'], packaged['synthetic']
    return '\n'.join((
        f'`street_tiny` (`.venv/bin/python -m training.evaluate`, {val["frames"]} real frames '
        f'and {streets["frames"]} of streets that it was not trained on):',
        '',
        '| figure | value |',
        '|---|---|',
        f'| mIoU on CamVid val, before val was learnt from too | {val["miou"]:.3f} |',
        f'| mIoU on synthetic streets | {streets["miou"]:.3f} |',
        f'| PQ on synthetic streets (things, stuff) | {_pq(streets["quality"])} |'))


def _pq(quality: dict[str, Any]) -> str:
    """Return the PQ of all classes, and of things and stuff."""
    every, things, stuff = (quality[name]['pq'] for name in ('all', 'things', 'stuff'))
    return f'{every:.3f} ({things:.3f}, {stuff:.3f})'


def _both_weights(learnt: dict[str, Any], packaged: dict[str, Any]) -> str:
    """Return what learning from val too has changed."""
    lines = ['| weights | mIoU, CamVid val | mIoU, streets | PQ (things, stuff) | AP of things '
             '| `predict`, ms (one network, two runs) |', '|---|---|---|---|---|---|']
    for name, report in (('of `train` alone', learnt), ('packaged: of `train` and val', packaged)):
        val, streets = report['camvid_val'], report['synthetic']
        seen = ' (learnt from)' if report is packaged else ''
        lines.append(
            f'| {name} | {val["miou"]:.3f}{seen} | {streets["miou"]:.3f} | '
            f'{_pq(streets["quality"])} | {streets["average_precision"]["things"]["ap"]:.3f} | '
            f'{val["predict_ms"]:.0f} |')
    return '\n'.join(lines)


def _parity() -> str:
    """Return how our answers compare with the libraries'."""
    lines = ['| model | task | frame | reference | equal classes | equal instances | segments |',
             '|---|---|---|---|---|---|---|']
    for row in json.loads((ROOT / 'reports' / 'parity.json').read_text()):
        lines.append(f'| {row["family"]} | {row["task"]} | {row["frame"]} | {row["reference"]} | '
                     f'{100 * row["equal_classes"]:.2f} % | {100 * row["equal_instances"]:.2f} % '
                     f'| {row["segments"]} |')
    return '\n'.join(lines)


def _by_class(report: dict[str, Any]) -> str:
    """Return what street_tiny sees of each class."""
    val, streets = report['camvid_val'], report['synthetic']
    lines = ['| class | IoU, CamVid val | IoU, streets | PQ | SQ | RQ | AP | AP at 0.5 |',
             '|---|---|---|---|---|---|---|---|']
    for name, quality in streets['quality'].items():
        ious = [part['iou'].get(name, part['miou'] if name == 'all' else None)
                for part in (val, streets)]
        precision = streets['average_precision'].get(name, {})
        cells = [*ious, quality['pq'], quality['sq'], quality['rq'],
                 precision.get('ap'), precision.get('ap50')]
        texts = ['' if cell is None else f'{cell:.3f}' for cell in cells]
        lines.append(f'| {name} | {" | ".join(texts)} |')
    return '\n'.join(lines)


def _ablation(report: dict[str, Any]) -> str:
    """Return what single changes of street_tiny are worth."""
    lines = [f'The weights of `train` alone, run in other ways on {report["val_frames"]} frames '
             f'of CamVid val and {report["street_frames"]} of unseen streets; the whole of '
             '`predict` on one core, median:', '',
             '| change | mIoU, CamVid val | PQ, streets | CPU time of a frame, ms |',
             '|---|---|---|---|']
    lines += [f'| {name} | {row["val_miou"]:.3f} | {row["pq"]:.3f} | {row["cpu_ms"]:.0f} |'
              for name, row in report['ways'].items()]
    if report['trainings']:
        lines += ['', f'Trained for {report["steps"]} steps from those weights, each with one '
                  'change, once a seed:', '', *_trainings(report['trainings'])]
    return '\n'.join(lines)


def _trainings(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line a change, with what every seed gave."""
    seeds = list(next(iter(rows.values())))
    of = f'seed{"s" * (len(seeds) > 1)} {", ".join(seeds)}'
    lines = [f'| change | mIoU, CamVid val, {of} | PQ, streets |',
             '|---|---|---|']
    for name, by_seed in rows.items():
        val, pq = (', '.join(f'{result[figure]:.3f}' for result in by_seed.values())
                   for figure in ('val_miou', 'pq'))
        lines.append(f'| {name} | {val} | {pq} |')
    return lines


def _drives(report: dict[str, Any]) -> str:
    """Return what networks see of a drive that they were trained without."""
    lines = ['| drive left out | its frames | mIoU there | mIoU, CamVid val |',
             '|---|---|---|---|']
    for drive, row in report.items():
        val = f'{row["val_miou"]:.3f}' if 'val_miou' in row else 'of the drive left out'
        lines.append(f'| {drive} | {row["frames"]} | {row["miou"]:.3f} | {val} |')
    return '\n'.join(lines)


def _shifted(report: dict[str, Any]) -> str:
    """Return what other light, blur, noise and scale cost."""
    lines = ['| frames of val | mIoU | the class that loses most |', '|---|---|---|']
    (_, known), *others = report['ways'].items()
    lines.append(f'| as they are | {known["miou"]:.3f} |  |')
    for name, row in others:
        worst = min(row['iou'], key=lambda n, row=row: row['iou'][n] - known['iou'][n])
        lines.append(f'| {name} | {row["miou"]:.3f} | {worst}: {row["iou"][worst]:.2f} instead of '
                     f'{known["iou"][worst]:.2f} |')
    mean = sum(row['miou'] for _, row in others) / len(others)
    return '\n'.join([*lines, f'| mean of these | {mean:.3f} |  |'])


def _cost(report: dict[str, Any]) -> str:
    """Return what the node costs beside its model."""
    run = report['runs']['node']
    lines = [
        "The node's own cost (`make bench`: a model that costs nothing, round trips in lock step "
        f'on {run["cores"]} cores, median of {run["frames"]}), as a multiple of '
        'a bare rclpy relay of the same frames in the same run:',
        '',
        '| frame | outputs | time / relay | bytes / relay | ms |',
        '|---|---|---|---|---|']
    names = {'node': 'semantic, instances, instance map, panoptic',
             'node with overlay': 'the same and the overlay'}
    for size, cases in report['node_cost'].items():
        lines += [f'| {size} | {title} | {cases[case]["times_relay"]:.1f} | '
                  f'{cases[case]["bytes_times_relay"]:.1f} | '
                  f'{cases[case]["round_trip_ms"]["p50"]:.1f} |' for case, title in names.items()]
    return '\n'.join(lines)


def _cameras(report: dict[str, Any]) -> str:
    """Return what several cameras get of one node."""
    lines = ['`street_tiny` on one thread in one node, cameras of 640x480 (`make bench`), frames '
             'a second of all cameras together:', '',
             '| cameras | node | the model alone, batched alike | node / model |',
             '|---|---|---|---|']
    lines += [f'| {count} | {row["node_hz"]:.1f} | {row["bare_hz"]:.1f} | '
              f'{row["node_to_bare"]:.2f} |' for count, row in report['cameras'].items()]
    return '\n'.join(lines)


def _against_libraries(report: dict[str, Any]) -> str:
    """Return how long our post-processing takes beside the libraries' own."""
    run = report['runs']['postprocess']
    lines = [
        "From a network's outputs to labels, ours beside the library's own on the same random "
        f'scene (`make bench`, {run["cores"]} cores, load average {run["load_before"]} before, '
        'taken in turn, median of the ratios):',
        '',
        '| outputs of | ours, ms | the library, ms | times as fast | goal |',
        '|---|---|---|---|---|']
    for name, row in report['postprocess'].items():
        missed = '' if row['reached'] else ', missed'
        lines.append(f'| {name} | {row["ours_ms"]["p50"]:.0f} | {row["theirs_ms"]["p50"]:.0f} '
                     f'({row["rival"]}) | {row["times_faster"]:.1f} | '
                     f'{row["goal"]:.0f}{missed} |')
    return '\n'.join(lines)


def _on_gpu(report: dict[str, Any]) -> str:
    """Return how fast large models are through topics, or that no GPU was there."""
    gpu = report['gpu']
    if not gpu['cases']:
        return f'Large models through topics on a GPU (`make bench`): {gpu["device"]}.'
    lines = [f'Large models through topics, {gpu["size"]}, {gpu["device"]} (`make bench`), '
             'frames a second:', '',
             '| model | precision | node | model with its pre- and post-processing '
             '| network alone | node / model | goal |',
             '|---|---|---|---|---|---|---|']
    lines += [f'| {name} | {row["precision"]} | {row["node_hz"]:.1f} | {row["bare_hz"]:.1f} | '
              f'{row["network_hz"]:.1f} | {row["node_to_bare"]:.2f} | {row["goal"]:.2f} |'
              for name, row in gpu['cases'].items()]
    return '\n'.join(lines)


def _identity(report: dict[str, Any]) -> str:
    """Return how well ids hold on streets, on true maps and as deployed, in a few lines."""
    inputs = {'true maps': 'true maps', 'street_tiny': '`street_tiny`'}
    lines = [f'The tracker on {report["streets"]} unseen streets, on true instance maps and on '
             'what `street_tiny` sees, beside ByteTrack at its best of a grid on the same '
             '(`.venv/bin/python -m benchmarks.tracking`; [all scenes](docs/tracking.md)):', '',
             '| input | HOTA (ByteTrack) | IDF1 (ByteTrack) | id switches in 1,000 '
             'object-frames (ByteTrack) |', '|---|---|---|---|']
    lines += [f'| {_identity_row(name.replace("street", title, 1), row)} |'
              for source, title in inputs.items() for name, row in report[source].items()
              if name.startswith('street')]
    return '\n'.join(lines)


def _tracking_speed(report: dict[str, Any]) -> str:
    """Return what tracking costs."""
    row = report['tracking']
    ours, theirs = row['ours_cpu_ms']['p50'], row['bytetrack_cpu_ms']['p50']
    return (f'Tracking {row["objects"]} objects at {row["size"]} takes {ours:.1f} ms of one core, '
            f'the goal is {row["goal_ms"]:.0f} (`make bench`); ByteTrack on boxes alone takes '
            f'{theirs:.1f} ms.')


def _identity_tables(report: dict[str, Any]) -> str:
    """Return ours beside ByteTrack in every scene."""
    titles = {'true maps': 'True instance maps: the trackers alone',
              'street_tiny': 'The output of `street_tiny`: as deployed'}
    return '\n\n'.join('\n'.join([
        f'{title}.', '',
        '| scene | HOTA (ByteTrack) | IDF1 (ByteTrack) | id switches in 1,000 object-frames '
        '(ByteTrack) | by masks alone: HOTA, IDF1, switches | object-frames |',
        '|---|---|---|---|---|---|',
        *(f'| {_identity_row(name, row)} | {_by_masks(row["masks"])} | '
          f'{row["ours"]["object_frames"]} |' for name, row in report[source].items()),
        _total(report[source])]) for source, title in titles.items())


def _by_masks(row: dict[str, Any]) -> str:
    """Return what our tracker comes to without the image."""
    return f'{row["hota"]:.3f}, {row["idf1"]:.3f}, {row["switches_per_1000"]:.1f}'


def _total(scenes: dict[str, Any]) -> str:
    """Return the row of all scenes: means by scene, and all switches in all object-frames."""
    mean = {who: {name: fmean(row[who][name] for row in scenes.values())
                  for name in ('hota', 'idf1')} for who in ('ours', 'masks', 'bytetrack')}
    frames = sum(row['ours']['object_frames'] for row in scenes.values())
    for who, figures in mean.items():
        switches = sum(row[who]['id_switches'] for row in scenes.values())
        figures['switches_per_1000'] = 1000 * switches / frames
    return f'| {_identity_row("all (mean)", mean)} | {_by_masks(mean["masks"])} | {frames} |'


def _identity_row(name: str, row: dict[str, Any]) -> str:
    """Return the cells of a scene."""
    ours, rival = row['ours'], row['bytetrack']
    return (f'{name} | {ours["hota"]:.3f} ({rival["hota"]:.3f}) | '
            f'{ours["idf1"]:.3f} ({rival["idf1"]:.3f}) | '
            f'{ours["switches_per_1000"]:.1f} ({rival["switches_per_1000"]:.1f})')


def _faults() -> str:
    """Return what the fault matrix came to."""
    lines = ['| line | fault | tried | passed | figures | seconds | load before |',
             '|---|---|---|---|---|---|---|']
    for name, row in _report('faults').items():
        full = '' if row['count'] >= row['full_count'] \
            else f' (count {row["count"]} of {row["full_count"]})'
        figures = '; '.join(f'{key} {value}' for key, value in row['figures'].items())
        lines.append(f'| {name} | {row["fault"]} | {row["tried"]}{full} | {row["passed"]} | '
                     f'{figures} | {row["seconds"]:.0f} | {row["load_before"]} |')
    return '\n'.join(lines)


def _space(report: dict[str, Any]) -> str:
    """Return how far boxes and grid are from the truth."""
    count = f'{report["frames"]} frames of {report["seeds"]} streets'
    lines = [f'Boxes of the objects with at least {report["min_area"]} visible pixels in {count}: '
             'median (90th percentile), metres. Centre, size (mean of the three) and near face '
             'are against the box of the visible surface; the last column is against the middle '
             'of the whole object, half of which nobody sees.', '',
             '| depth and labels | distance | with a box | centre | size | near face | '
             'whole centre |', '|---|---|---|---|---|---|---|']
    for condition, bins in report['boxes'].items():
        for distance, row in bins.items():
            cells = [_spread(row.get(name)) for name in ('centre_m', 'size_m', 'near_face_m',
                                                         'whole_centre_m')]
            lines.append(f'| {condition} | {distance} | {row["with_box"]} of {row["objects"]} | '
                         f'{" | ".join(cells)} |')
    lines += ['', '`drivable_grid` without depth, cells of 0.2 m, in the same frames: the share '
              'of truly drivable cells that it found, of its free cells those where something '
              'stands, of bearings (1 degree) with an obstacle those where it has one, and how '
              'far off the nearest obstacle is. "As mounted" is the pose at the start of the '
              'drive: the car nods and rolls.', '',
              '| pose and labels | distance | drivable found | free but blocked | bearings '
              'found | nearest obstacle, m |', '|---|---|---|---|---|---|']
    for condition, bins in report['grid'].items():
        lines += [f'| {condition} | {distance} | {row["drivable_found"]:.3f} | '
                  f'{row["free_but_blocked"]:.4f} | {row["bearings_with_obstacle"]:.3f} | '
                  f'{_spread(row.get("nearest_obstacle_m"))} |' for distance, row in bins.items()]
    return '\n'.join(lines)


def _space_cost(report: dict[str, Any]) -> str:
    """Return what a labelled cloud costs, and what the outputs in space cost the 2D ones."""
    lines = ['One core, `make bench`, both in turn in one run:', '',
             '| | ms, median (99th percentile) | plain numpy, ms | times faster |',
             '|---|---|---|---|']
    lines += [f'| {name} | {row["ours_ms"]["p50"]:.1f} ({row["ours_ms"]["p99"]:.1f}) | '
              f'{row["theirs_ms"]["p50"]:.1f} ({row["rival"].removeprefix("plain numpy, ")}) | '
              f'{row["times_faster"]:.1f} |' for name, row in report['points'].items()]
    run, cases = report['runs']['space'], dict(report['space_cost'])
    node = cases.pop('node')
    lines += ['', f'From the publication of a 640x480 image to its label image, `street_tiny` on '
              f'{run["cores"]} cores, five images a second, all outputs in space heard by another '
              f'process (`make bench`, load average {run["load_before"]} before, in turn in one '
              f'run). The work in space took {node["depth_ms_p50"]:.0f} ms a frame:', '',
              '| | p50 ms | p99 ms | times 2D only |', '|---|---|---|---|']
    lines += [f'| {name} | {row["p50_ms"]:.0f} | {row["p99_ms"]:.0f} | {row["times_flat"]:.2f} |'
              for name, row in cases.items()]
    return '\n'.join(lines)


def _spread(figure: dict[str, float] | None) -> str:
    """Return `median (90th percentile)`."""
    return f'{figure["p50"]:.2f} ({figure["p90"]:.2f})' if figure else ''


def main() -> None:
    """Rewrite the pages, or the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--picture', type=Path, help='a contact sheet that becomes the picture')
    arguments = parser.parse_args()
    if arguments.picture:
        picture = cv2.imread(str(arguments.picture))
        height, width = picture.shape[:2]
        small = cv2.resize(picture, (_PICTURE_WIDTH, round(height * _PICTURE_WIDTH / width)),
                           interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(ROOT / 'docs' / 'street.jpg'), small, (cv2.IMWRITE_JPEG_QUALITY, 88))
        return
    for name in PAGES:
        path = ROOT / name
        path.write_text(generated(path.read_text()))


if __name__ == '__main__':
    main()
